#!/bin/sh
# Makes the Emulator's clips: `sh keevx_async/testing/media/make.sh`, with ffmpeg and a font.
# Four seconds of eight frames with a silent sound track. The timescales (30000 and 24000) divide by
# each duration that Keevx offers; `clips.py` sets the duration, and hides the sound, as it serves.
set -eu
cd "$(dirname "$0")"
exact="-map_metadata -1 -fflags +bitexact -flags +bitexact"
for size in 1280x720 720x1280 1920x1080 1080x1920 3840x2160 2160x3840; do
  width=${size%x*} height=${size#*x}
  block=$((width / 16))
  text="drawtext=text='keevx emulator':fontcolor=white:fontsize=$((width / 12)):x=(w-text_w)/2:y=(h-text_h)/2"
  ffmpeg -v error -y \
    -f lavfi -i "color=c=0x2a6f97:s=$size:r=2:d=4" -f lavfi -i "color=c=white:s=${block}x16:r=2:d=4" \
    -f lavfi -i anullsrc=r=24000:cl=mono -t 4 \
    -filter_complex "[0]$text[a];[a][1]overlay=x=t*4*$block:y=floor(H*0.9/16)*16[v]" -map "[v]" -map 2 \
    -c:v libx264 -preset veryslow -tune animation -crf 44 -g 8 -pix_fmt yuv420p \
    -bsf:v filter_units=remove_types=6 -c:a aac -b:a 8k \
    -video_track_timescale 30000 -movie_timescale 30000 $exact "$size.mp4"
done
