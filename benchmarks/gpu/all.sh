#!/usr/bin/env bash
# Everything that new encoders need, in one call of ten minutes on a fresh machine: both are pre-trained side by side, then
# the cured one, the ladder and the queue study are computed from the new English one, all side by side. Prepare first
# (prepare.sh, for en and zh). It replaces checkpoints/raw-mini and checkpoints/cured-mini where it runs.
#
#   RESULTS=results bash benchmarks/gpu/all.sh 3.25 [more options of `anticollapse pretrain`]
#
# 3.25 = minutes of training steps of each encoder. LIMIT (default 575) is the second at which the studies are stopped (after
# 3.25 minutes they need up to second 525 on an H200); what they have is in RESULTS in any case, and goes on elsewhere.
# SIZE_EN, SIZE_ZH: shapes. JOBS, QUEUE_JOBS: processes of the studies. COMMIT: that of the files, for the record, where git
# cannot know it. DEVICE: cuda or cpu. Ends with 1 when a part failed or is unfinished.
set -uo pipefail
minutes=$1
shift
place=build/pretrain
logs=$place/logs
results=${RESULTS:-$place/results}
export ANTICOLLAPSE_DATA=${ANTICOLLAPSE_DATA:-$PWD/$place/data} ANTICOLLAPSE_COMMIT=${COMMIT:-}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TQDM_DISABLE=1
python=${PYTHON:-python3}
for old in run-en run-zh studies adapted cured; do
    # Resumed with other options it would be refused, and then be taken for what was asked for.
    [ -e "$place/$old" ] && echo "$place/$old is there from another call: delete it first" && exit 2
done
mkdir -p "$results" "$logs" "$place/studies" checkpoints
failed=$logs/failed
: > "$failed"
say() { echo "[$SECONDS s] $*"; }
outcome() { # what status
    say "$1: exit $2"
    [ "$2" = 0 ] || echo "$1" >> "$failed"
}
pack() { # 1 from tar: a file changed meanwhile, which the next time mends
    tar -czf "$place/$1.part" -C "$place" --exclude checkpoint --exclude model --exclude heads --exclude '.*.tmp' "${@:2}" \
        2> /dev/null
    [ $? -le 1 ] && mv "$place/$1.part" "$results/$1.tar.gz"
}
first() { # language size
    RESULTS=$logs OMP_NUM_THREADS=8 bash benchmarks/gpu/pretrain.sh "$1" "$minutes" --evaluations 2 --size "$2" "${@:3}" \
        > "$logs/$1.out" 2>&1
    local status=$?
    grep -qs '"status": "done"' "$place/run-$1/model/pretraining.json" || status=1
    outcome "encoder $1" $status
    [ $status = 0 ] && mv "$logs/$1-model.tar.gz" "$results/" && tail -7 "$logs/$1.log"
    return $status
}
first zh "${SIZE_ZH:-4x256}" "$@" & chinese=$!
if ! first en "${SIZE_EN:-4x256}" "$@"; then
    wait
    pack logs logs
    exit 1
fi
rm -rf checkpoints/raw-mini && cp -r "$place/run-en/model" checkpoints/raw-mini

study() { # kind seeds jobs
    local left=$((${LIMIT:-575} - SECONDS))
    timeout -s INT $((left > 1 ? left : 1)) "$python" -m anticollapse study "$1" --backbone raw-mini --pairs stsb \
        --seeds "$2" --jobs "$3" --threads 1 --precision float32 --no-estimate --output "$place/studies/$1-stsb-en" \
        "${@:4}" > "$logs/$1.out" 2>&1
    outcome "$1, $(grep -c 'Spearman dev' "$logs/$1.out") runs" $?
}
study ladder 5 "${JOBS:-11}" --steps 360 --with-cures & ladder=$!
study queue 3 "${QUEUE_JOBS:-4}" --steps 180 & queue=$!
(
    export OMP_NUM_THREADS=1
    "$python" -m anticollapse pretrain --from raw-mini --text stsb:train --passes 10 --batch-tokens 4096 \
        --threads 1 --output "$place/adapted" > "$logs/cured.out" 2>&1 &&
        "$python" -m anticollapse train sbert --backbone "$place/adapted" --pairs stsb:train --dev stsb:dev \
            --epochs 4 --learning-rate 2e-4 --threads 1 --output "$place/cured" >> "$logs/cured.out" 2>&1 &&
        # In half precision, as machines may give back small files only.
        "$python" benchmarks/embed.py "$place/cured" --name cured-mini --backbone raw-mini --pairs stsb \
            >> "$logs/cured.out" 2>&1 &&
        tar -czf "$results/cured.tar.gz" -C checkpoints cured-mini
    outcome "cured encoder" $?
    while kill -0 $chinese 2> /dev/null; do sleep 1; done
    for language in en zh; do
        pairs=$([ $language = zh ] && echo stsb-zh || echo stsb)
        held=$([ -f "$place/held-$language.txt" ] && echo "--held-out $place/held-$language.txt")
        "$python" benchmarks/encoders.py "$place/run-$language/model" --pairs $pairs $held --device "${DEVICE:-cuda}" \
            >> "$logs/encoders.out" 2>> "$logs/encoders.err"
        outcome "measured $language" $?
    done
    cat "$logs/encoders.out"
) & third=$!
while kill -0 $ladder 2> /dev/null || kill -0 $queue 2> /dev/null; do
    sleep 10
    pack studies studies
    pack logs logs
done
wait $third
pack studies studies
pack logs logs
for kind in ladder queue; do tail -1 "$logs/$kind.out" | cut -c1-300; done
say "done; failed: $(paste -sd ',' "$failed")"
[ ! -s "$failed" ]
