#!/bin/sh
# Make .venv and install a file of requirements into it. What goes wrong is said in one sentence.
#   sh lab/install.sh requirements.txt
set -u
log=.venv/install.log

fail() {
    echo "$1" >&2
    exit 1
}

for python in python3 python3.14 python3.13 python3.12 python3.11 none; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
done
[ "$python" = none ] &&
    fail "The lab needs Python 3.11 or newer, and python3 is $(python3 --version 2>&1). Install a newer one, then try again."

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || sh lab/apt.sh python3-venv ||
        fail "Without Python's venv module the lab cannot be installed."
    mkdir -p .venv && "$python" -m venv --clear .venv ||
        fail "The folder .venv could not be made here. May you write to $PWD?"
fi

echo "Installing the packages of $1 into .venv, this once …"
# `python -m lab` works in every folder, and finds nothing else of this one there.
packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') &&
    ln -sfn "$(cd lab && pwd -P)" "$packages/lab" &&
    echo "import lab" >"$packages/lab.pth" # before anything of the current folder: see lab/__init__.py

.venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 -r "$1" >"$log" 2>&1 && exit

if grep -qiE 'failed to establish|name resolution|timed out|unreachable|proxy' "$log"; then
    fail "The packages could not be fetched: is there a network? pip's own words are in $log."
elif grep -qiE 'gcc|clang|compiler|error: command' "$log"; then
    fail "A package has to be compiled on this machine, and no compiler was found. pip's own words are in $log."
fi
fail "The packages could not be installed: $(grep -v '^ *$' "$log" | tail -1) (all of it: $log)"
