# shellcheck shell=bash
# Sourced by the other scripts: where things are, and how a message looks.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${ICEFLOE_VENV:-$root/.venv}
python=$venv/bin/python

say() { printf '==> %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}
