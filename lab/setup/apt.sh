#!/bin/sh
# Install Debian packages if this user may; otherwise say what to type. What `make offline` gathered needs no network.
#   sh lab/setup/apt.sh PACKAGE…
set -u
if ! command -v apt-get >/dev/null; then
    echo "Please install $* with this machine's package manager (on macOS: brew install ${1%-server})." >&2
    exit 1
fi
gathered=$PWD/offline/$(. /etc/os-release && echo "$ID$VERSION_ID")-$(dpkg --print-architecture 2>/dev/null)/$1
if [ "$(id -u)" = 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    [ -d "$gathered" ] && install="sh lab/setup/apt.sh" || install="apt-get install"
    echo "This needs an administrator. Type \`sudo $install $*\`. Then repeat your command." >&2
    exit 1
fi

quietly() { # $sudo is a list of words of our own
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null
}

echo "Installing $* …"
packages=$*
set --
for deb in "$gathered"/*.deb; do
    [ ! -e "$deb" ] || dpkg -s "$(dpkg-deb -f "$deb" Package)" 2>/dev/null | grep -q '^Status: .* installed' ||
        set -- "$@" "$deb"
done
[ $# = 0 ] || ! quietly install -y --no-install-recommends "$@" || exit 0
quietly update && quietly install -y --no-install-recommends $packages || {
    echo "apt-get could not install $packages. Its own messages are above." >&2
    exit 1
}
