#!/bin/bash
# A stock Patroni in a private folder: stock-patroni.sh [bookworm|trixie]
#   bookworm  the package that this machine's apt offers (apt-get download, dpkg-deb -x)
#   trixie    Debian's source package of the next release (4.0), which runs from its tree
# Prints the folder; PYTHONPATH=FOLDER python3 -m patroni config.yml, ... -m patroni.ctl list. Nothing
# is installed and no service starts. What Python needs comes with ./setup --tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgherd-peers}
suite=${1:-bookworm}
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
case "$suite" in
bookworm)
	tree=$cache/patroni-of-this-release
	if [ ! -d "$tree/usr" ]; then
		work=$(mktemp -d "$cache/deb.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		# _apt may not write where only we may; the download is checked by its hash all the same.
		(cd "$work" && apt-get -q -o APT::Sandbox::User="$(id -un)" download patroni >&2)
		dpkg-deb -x "$work"/patroni_*.deb "$work/tree"
		rm -rf "$tree"
		mv "$work/tree" "$tree"
	fi
	src=$tree/usr/lib/python3/dist-packages
	;;
trixie)
	src=$("$here/debian-source.sh" patroni trixie "$cache")
	;;
*)
	echo "usage: stock-patroni.sh [bookworm|trixie]" >&2
	exit 2
	;;
esac
[ -f "$src/patroni/__main__.py" ] || {
	echo "stock-patroni.sh: no Patroni in $src" >&2
	exit 1
}
echo "$src"
