#!/usr/bin/env bash
# Pre-train on what benchmarks/gpu/prepare.sh made; say it again to go on where it stopped.
#
#   bash benchmarks/gpu/pretrain.sh en 8 [more options of `anticollapse pretrain`]
#
# 8 = minutes of training in all. PART (default 8.5) ends one call earlier, with a checkpoint. RESULTS (default
# build/pretrain/results) gets the encoder as one archive, its card, the measures over time and what was printed.
# WHEELS: a folder of wheels that this machine lacks, installed without network.
set -euo pipefail
language=$1 minutes=$2
shift 2
place=build/pretrain
results=${RESULTS:-$place/results}
run=$place/run-$language
mkdir -p "$results"
export ANTICOLLAPSE_DATA=${ANTICOLLAPSE_DATA:-$PWD/$place/data} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install -q --no-index --no-deps --upgrade --target "$place/site" "$WHEELS"/*.whl
    export PYTHONPATH=$PWD/$place/site${PYTHONPATH:+:$PYTHONPATH}
fi
# --resume without a checkpoint starts anew; with one, the run must be the same one.
set +e
"$python" -m anticollapse pretrain --text "$place/$language.tokens" --language "$language" --output "$run" \
    --minutes "$minutes" --stop-after "${PART:-8.5}" --resume --licence "${LICENCE:-cc-by-sa-4.0}" "$@" 2>&1 | tee -a "$results/$language.log"
code=${PIPESTATUS[0]}
set -e
if [ -d "$run/model" ]; then
    tar -czf "$results/$language-model.tar.gz" -C "$run" model
    cp "$run/model/README.md" "$results/$language-card.md"
    cp "$run/metrics.jsonl" "$results/$language-metrics.jsonl"
fi
ls -la "$results"
exit "$code"
