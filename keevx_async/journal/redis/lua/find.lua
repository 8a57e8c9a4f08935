-- Return, for each key, whether a live holder has it, and its hash.

local answers = {}
for n = 3, #ARGV do answers[#answers + 1] = {is_held(ARGV[n]) and 1 or 0, all(ARGV[n])} end
return answers
