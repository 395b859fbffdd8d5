#!/bin/sh
# Remake the bundled model `street`: three trainings, from the bundled encoder `dinov2-small` to the score.
#
#   sh examples/remake_street.sh DATA [FIELD VALUE ...]
#
# DATA is CamVid as docs/how-to/camvid.md brings it, such as data/camvid. All that follows it is given to each
# training: `--precision float32`, or `--schedule.steps 2 --schedule.warmup_steps 0` for a rehearsal. Each
# stage starts from the one before, in runs/ of the current folder. On two CPU cores with bfloat16 the three
# take about 3 hours. The model is for non-commercial use, as the labels of CamVid are.
set -eu
data=$1
shift
segmenter train street-linear --data "$data" "$@"
segmenter train street-class-tokens --data "$data" "$@"
segmenter train street --data "$data" "$@"
segmenter evaluate runs/street/last.safetensors "$data" --split test
