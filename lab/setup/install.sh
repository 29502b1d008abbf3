#!/bin/sh
# Make .venv, and install the lab and a file of requirements into it, unless that is done. What goes wrong is said in
# one sentence.
#   sh lab/setup/install.sh requirements.txt
#   PYTHON=python3.12 sh lab/setup/install.sh requirements.txt
set -u
cd -P "${0%/*}/../.." || exit
log=.venv/install.log
installed=.venv/installed # what was, line by line, and where .venv stands: its programs know that by name

fail() {
    echo "$1" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Whether .venv has a Python that runs, is new enough, is the wanted one, and stands where it was made.
fits() {
    .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -VV 2>&1)" = "$(.venv/bin/python -VV 2>/dev/null)" ] || return
    [ ! -e "$installed" ] || grep -qxF "$(cd .venv && pwd -P)" "$installed"
}

fits && fitting=yes || fitting=
files="pyproject.toml requirements.txt constraints.txt $1 lab/setup/install.sh"
[ "$fitting" ] && [ -e "$installed" ] && ! grep -qvxFf "$installed" $files && exit
[ ! -e .venv ] || [ -w .venv ] ||
    fail "The folder .venv belongs to somebody else (was it made with sudo?). Remove it: sudo rm -r .venv"

if [ ! "$fitting" ]; then
    python=${PYTHON:-}
    [ "$python" ] || for python in python3 python3.14 python3.13 python3.12 python3.11; do
        new_enough "$python" && break
    done
    if ! new_enough "$python"; then
        first=${PYTHON:-python3}
        found=$("$first" --version 2>&1) && found="$first is $found" || found="there is no $first here"
        fail "The lab needs Python 3.11 or newer, and $found. Install one, or name it: make lab PYTHON=python3.12"
    fi
    [ ! -e .venv ] || echo "The folder .venv does not fit any more, so it is made again."
    "$python" -c 'import ensurepip, venv' 2>/dev/null || sh lab/setup/apt.sh "${python##*/}-venv" ||
        fail "Without Python's venv module the lab cannot be installed."
    mkdir -p .venv && "$python" -m venv --clear .venv ||
        fail "The folder .venv could not be made in $PWD. May you write there? A Windows drive may lack the symbolic links that it needs: put the lab into your home folder (on Windows: into that of your Linux)."
fi

echo "Installing the packages of $1 into .venv, this once. It takes a minute or two …"
case $PWD in
*[\"\`\$\\:]*) echo "The name of this folder has one of \" \` \$ \\ : in it. \`make lab\` works here; activate does not." ;;
esac
# The lab itself is installed as it stands here, so that `lab` works in every folder and finds nothing else of this one.
pip_install() {
    PIP_USER=0 PIP_RETRIES=2 .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1
}
gathered="--no-index --find-links offline/wheels" # by `make offline`; where they do not fit, the network is asked
set -- --editable . -r "$1" -c constraints.txt
if { [ -d offline/wheels ] && pip_install $gathered "$@"; } || pip_install "$@"; then
    rm -rf ./*.egg-info # what building leaves behind
    packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "import lab" >"$packages/lab.pth" # before anything of the current folder: see lab/__init__.py
    { (cd .venv && pwd -P) && cat $files; } >"$installed.new" && mv "$installed.new" "$installed"
    exit
elif grep -qiE 'failed to establish|name resolution|timed out|unreachable|proxy' "$log"; then
    [ ! -d offline/wheels ] || echo "What is in offline/ is not for this Python on this kind of machine."
    fail "The packages could not be fetched: is there a network? pip's own messages are in $log."
elif grep -qiE 'gcc|clang|compiler|error: command' "$log"; then
    fail "A package has to be compiled on this machine, and no compiler was found. pip's own messages are in $log."
fi
fail "The packages could not be installed: $(grep -v '^ *$' "$log" | tail -1) (all of it: $log)"
