#!/usr/bin/env bash
# Tokenise and compress the text for benchmarks/gpu/pretrain.sh, on a machine that has it.
#
#   bash benchmarks/gpu/prepare.sh en FILE …       → build/pretrain/en.tokens (git-ignored)
#
# NAME (default the language) is another name for the file, for several vocabularies beside each other.
# SHARE (0 to 1, default 1) keeps a part of the lines, where the whole is too large to travel; VOCABULARY entries (8192).
# The graded pairs go along (dev to measure on, all splits for the studies), as the other machine may have no network: they
# are taken from the folder ANTICOLLAPSE_DATA.
set -euo pipefail
language=$1
shift
place=build/pretrain
mkdir -p "$place/data"
"${PYTHON:-python}" -m anticollapse pretrain --prepare "$place/${NAME:-$language}.tokens" --language "$language" \
    --share "${SHARE:-1}" --vocabulary "${VOCABULARY:-8192}" --text "$@"
"${PYTHON:-python}" benchmarks/encoders.py --text "$@" --lines 600 --write-held-out "$place/held-$language.txt"
for split in train dev test; do
    for file in "stsb_en/sts-$split.csv" "stsb_zh/cnsd-sts-$split.txt"; do
        if [ -f "${ANTICOLLAPSE_DATA:-}/$file" ]; then
            mkdir -p "$place/data/${file%/*}"
            cp "$ANTICOLLAPSE_DATA/$file" "$place/data/$file"
        fi
    done
done
du -ch "$place"/*.tokens "$place/data" | tail -1
