#!/usr/bin/env bash
# Everything that new encoders need, in one call: both are pre-trained side by side, then the cured one, the ladder and the
# queue study are computed from the new English one, all side by side. Prepare first (prepare.sh, for en and zh).
# It replaces checkpoints/raw-mini where it runs.
#
#   RESULTS=results bash benchmarks/gpu/all.sh 3.5 [more options of `anticollapse pretrain`]
#
# 3.5 = minutes of training steps of each encoder. LIMIT (default 560) is the second at which the studies are stopped; what
# they have is in RESULTS in any case, and goes on elsewhere. SIZE_EN, SIZE_ZH: shapes. JOBS, QUEUE_JOBS: processes of the
# studies. COMMIT: for the record, where there is no .git. DEVICE: cuda or cpu.
set -uo pipefail
minutes=$1
shift
place=build/pretrain
logs=$place/logs
results=${RESULTS:-$place/results}
export ANTICOLLAPSE_DATA=${ANTICOLLAPSE_DATA:-$PWD/$place/data} ANTICOLLAPSE_COMMIT=${COMMIT:-}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TQDM_DISABLE=1
python=${PYTHON:-python3}
mkdir -p "$results" "$logs" "$place/studies" checkpoints
say() { echo "[$SECONDS s] $*"; }
pack() { # 1 from tar: a file changed meanwhile, which the next time mends
    tar -czf "$place/$1.part" -C "$place" --exclude checkpoint --exclude model --exclude heads --exclude '.*.tmp' "${@:2}" \
        2> /dev/null
    [ $? -le 1 ] && mv "$place/$1.part" "$results/$1.tar.gz"
}

first() { # language size
    RESULTS=$logs OMP_NUM_THREADS=8 bash benchmarks/gpu/pretrain.sh "$1" "$minutes" --evaluations 2 --size "$2" "${@:3}" \
        > "$logs/$1.out" 2>&1
    say "encoder $1: exit $?"
    mv "$logs/$1-model.tar.gz" "$results/" && tail -7 "$logs/$1.log"
}
first zh "${SIZE_ZH:-4x256}" "$@" & chinese=$!
first en "${SIZE_EN:-4x256}" "$@"
[ -d "$place/run-en/model" ] || { wait; pack logs logs; exit 1; }
rm -rf checkpoints/raw-mini && cp -r "$place/run-en/model" checkpoints/raw-mini

study() { # kind seeds jobs
    left=$((${LIMIT:-560} - SECONDS))
    timeout -s INT $((left > 1 ? left : 1)) "$python" -m anticollapse study "$1" --backbone raw-mini --pairs stsb \
        --seeds "$2" --jobs "$3" --threads 1 --precision float32 --no-estimate --output "$place/studies/$1-stsb-en" \
        "${@:4}" > "$logs/$1.out" 2>&1
    say "$1: exit $?, $(grep -c 'Spearman dev' "$logs/$1.out") runs"
}
study ladder 5 "${JOBS:-10}" --steps 360 --with-cures & ladder=$!
study queue 3 "${QUEUE_JOBS:-4}" --steps 180 & queue=$!
(
    export OMP_NUM_THREADS=1
    "$python" -m anticollapse train sbert --backbone raw-mini --pairs stsb:train --dev stsb:dev --epochs 4 \
        --learning-rate 2e-4 --patience 0 --threads 1 --output "$place/cured" > "$logs/cured.out" 2>&1
    say "cured encoder: exit $?"
    # In half precision, as machines may give back small files only.
    "$python" benchmarks/embed.py "$place/cured" --name cured-mini --backbone raw-mini --pairs stsb >> "$logs/cured.out" 2>&1
    tar -czf "$results/cured.tar.gz" -C checkpoints cured-mini
    wait_for() { while kill -0 "$1" 2> /dev/null; do sleep 1; done; }
    wait_for $chinese
    for language in en zh; do
        pairs=$([ $language = zh ] && echo stsb-zh || echo stsb)
        held=$([ -f "$place/held-$language.txt" ] && echo "--held-out $place/held-$language.txt")
        "$python" benchmarks/encoders.py "$place/run-$language/model" --pairs $pairs $held --device "${DEVICE:-cuda}" \
            >> "$logs/encoders.out" 2>> "$logs/encoders.err"
        say "measured $language: exit $?"
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
say done
