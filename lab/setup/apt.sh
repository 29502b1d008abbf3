#!/bin/sh
# Install Debian packages if this user may; otherwise say what to type.
#   sh lab/setup/apt.sh PACKAGE…
set -u
if ! command -v apt-get >/dev/null; then
    echo "Please install $* with this machine's package manager (on macOS: brew install ${1%-server})." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "This needs an administrator. Type \`sudo apt-get install $*\`, and then the same as before once more." >&2
    exit 1
fi
echo "Installing $* …"
for step in update "install -y --no-install-recommends $*"; do
    # $sudo and $step are lists of words of our own
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 $step </dev/null >/dev/null || {
        echo "apt-get could not install $*. Its words are above." >&2
        exit 1
    }
done
