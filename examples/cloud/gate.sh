#!/usr/bin/env bash
# A gate on a machine that is not kept; its runs and its ledger are kept in STORE, a bucket or a volume.
#
#   R1_MODEL    the checkpoint: a folder or a Hub id
#   BENCHMARKS  marks, such as "aime or math500"
#   STORE       where the bucket is mounted. A database is not written to a bucket: it is copied from there, and back
#   WORKERS     engines; auto is one for each GPU
#   ARGUMENTS   further arguments of pytest, separated by blanks
#
# The exit code is the gate's. An interrupted gate goes on when it is started again; 2 where STORE fails.
set -u
mkdir -p data/evals && cp -r "$STORE/." data/evals || exit 2
read -r -d '' -a arguments <<<"${ARGUMENTS:-}" || true # ends with the text, and says 1
pytest -m "$BENCHMARKS" -n "${WORKERS:-auto}" --r1-output-dir data/evals "${arguments[@]}" &
pytest=$!
trap 'kill -TERM $pytest' TERM INT # pytest stores what is drawn, and then it is copied
wait $pytest
code=$?
while kill -0 $pytest 2>/dev/null; do
  wait $pytest
  code=$?
done
cp -r data/evals/. "$STORE" || exit 2
exit $code
