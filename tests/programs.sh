#!/usr/bin/env bash
# Install the programs that the tests run for real, from Debian's packages, where apt and the right to use it are here.
# Says so before; R1_INSTALL=no leaves it out. Never fails: the suite closes with what it could not run.
set -uo pipefail
PATH="$PATH:/usr/sbin:/sbin"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
packages=()
for needed in bwrap=bubblewrap chromium=chromium slurmctld=slurm-wlm sbatch=slurm-wlm /usr/bin/python3=python3; do
  command -v "${needed%%=*}" >/dev/null || packages+=("${needed#*=}")
done
[[ " ${packages[*]-} " == *" chromium "* ]] && packages+=(fonts-dejavu-core)
ldconfig -p 2>/dev/null | grep -q libseccomp.so.2 || packages+=(libseccomp2)
[ ${#packages[@]} -gt 0 ] || exit 0
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

if [ "${R1_INSTALL:-}" = no ]; then
  echo "== R1_INSTALL=no: ${packages[*]} not installed; the tests that need them are skipped"
  exit 0
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo -n)
if ! command -v apt-get >/dev/null || ! "${sudo[@]}" true 2>/dev/null; then
  echo "== may not install ${packages[*]} (no apt-get, or neither root nor sudo without a password); the tests that need them are skipped"
  exit 0
fi
echo "== installing ${packages[*]} by apt-get, which the tests run for real (R1_INSTALL=no leaves it out)"
if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  echo "== apt-get failed: $(tail -n 1 "$log"); the tests that need ${packages[*]} are skipped"
fi
