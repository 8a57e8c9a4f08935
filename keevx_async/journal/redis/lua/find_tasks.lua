-- Return, for each task id, its end and the path of its downloaded result.

local answers = {}
for n = 3, #ARGV do
  answers[#answers + 1] = {
    redis.call('HGET', P .. 'tasks', ARGV[n]), redis.call('HGET', P .. 'files', ARGV[n])
  }
end
return answers
