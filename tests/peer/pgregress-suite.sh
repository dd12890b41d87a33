#!/bin/bash
# PostgreSQL's own regression scripts, from Debian's source package, on a herd that distributes their tables.
#   pgregress-suite.sh [OPTIONS of pgregress.py]     --only FILE,..  --update  --keep DIR
# Closes with "N passed, N failed, N skipped"; one skipped and nothing else when Debian's source cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! source=$("$here/debian-source.sh" postgresql-15 bookworm "${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgherd-peers}"); then
	echo "pgregress-suite.sh: the source package postgresql-15 cannot be fetched; nothing is run"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
exec /usr/bin/python3 "$here/pgregress.py" "$source" "$@"
