# bash completion for pgherd and the names it is called by: commands, options, members, roles, files.
# Installed as bash-completion/completions/pgherd with a link pgherdctl.

# The words of the command line that stand before COMMAND's own: "pgherd ctl -c FILE", "pgherdctl".
_pgherd_ctl_program() {
	local i words=("${COMP_WORDS[0]}")
	for ((i = 1; i < start; i++)); do
		words+=("${COMP_WORDS[i]}")
	done
	printf '%q ' "${words[@]}"
}

# Member names of the cluster that the configuration names; nothing when it cannot be read.
_pgherd_ctl_members() {
	eval "$(_pgherd_ctl_program) list -f tsv 2>/dev/null" |
		awk -F'\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "Member") m = i; next } { print $m }'
}

# The long options that --help of a command names.
_pgherd_ctl_options() {
	eval "$(_pgherd_ctl_program) $1 --help 2>/dev/null" | grep -oE -- '--[a-z-]+' | sort -u
}

_pgherd_ctl() {
	local start=$1 i verb= cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	# Options of ctl itself come first; -c and -d take a value.
	for ((i = start; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --config-file | -d | --dcs | --dcs-url) ((i++)) ;;
		-*) ;;
		*)
			verb=${COMP_WORDS[i]}
			start=$i
			break
			;;
		esac
	done
	case $prev in
	-c | --config-file | --apply | --replace | --file)
		# After query, -c is SQL.
		[ -n "$verb" ] && [ "$prev" = -c ] || {
			COMPREPLY=($(compgen -f -- "$cur"))
			return
		}
		;;
	-f | --format)
		if [ "$verb" = query ] && [ "$prev" = -f ]; then
			COMPREPLY=($(compgen -f -- "$cur"))
			return
		fi
		COMPREPLY=($(compgen -W "pretty tsv json yaml yml" -- "$cur"))
		return
		;;
	-r | --role)
		COMPREPLY=($(compgen -W "leader primary standby-leader replica standby any" -- "$cur"))
		return
		;;
	--leader | --primary | --candidate | -m | --member)
		COMPREPLY=($(compgen -W "$(_pgherd_ctl_members)" -- "$cur"))
		return
		;;
	esac
	if [ -z "$verb" ]; then
		COMPREPLY=($(compgen -W "list topology explain switchover failover restart reload reinit flush pause
			resume edit-config show-config history version query dsn remove
			demote-cluster promote-cluster
			--config-file --dcs-url --insecure --help" -- "$cur"))
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(_pgherd_ctl_options "$verb")" -- "$cur"))
	else
		case $verb in
		explain)
			COMPREPLY=($(compgen -W "$(_pgherd_ctl_members)" -- "$cur"))
			;;
		restart | reload | reinit | version | flush)
			local more=
			[ "$verb" = flush ] && more="restart switchover"
			((COMP_CWORD > start + 1)) &&
				COMPREPLY=($(compgen -W "$(_pgherd_ctl_members) $more" -- "$cur"))
			;;
		esac
	fi
}

# Files whose names end in one of the given endings, and directories.
_pgherd_files() {
	local ending
	COMPREPLY=($(compgen -d -- "$cur"))
	for ending in "$@"; do
		COMPREPLY+=($(compgen -f -X "!*.$ending" -- "$cur"))
	done
	compopt -o filenames 2>/dev/null
}

# agent, proxy, demo and sim: $1 is the program, $2 where its own words begin.
_pgherd_program() {
	local program=$1 start=$2 cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	case $program:$prev in
	agent:--user | proxy:-u | proxy:--user)
		COMPREPLY=($(compgen -u -- "$cur"))
		return
		;;
	demo:--dir)
		COMPREPLY=($(compgen -d -- "$cur"))
		compopt -o filenames 2>/dev/null
		return
		;;
	sim:--config)
		_pgherd_files yml yaml
		return
		;;
	demo:--base-port | demo:--workers | demo:--replicas | sim:--seed | sim:--seeds | sim:--members | sim:-j | sim:--jobs)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		case $program in
		agent) COMPREPLY=($(compgen -W "--validate-config --ignore-listen-port --print
			--generate-sample-config --generate-config --dsn --user --version --help" -- "$cur")) ;;
		proxy) COMPREPLY=($(compgen -W "--daemon --reboot --quiet --user --verbose --version --help" -- "$cur")) ;;
		demo) COMPREPLY=($(compgen -W "--dir --base-port --workers --replicas --force --help" -- "$cur")) ;;
		sim) COMPREPLY=($(compgen -W "--seeds --seed --jobs --trace --minimize --config --members --no-guard --report --no-report --help" -- "$cur")) ;;
		esac
		return
	fi
	case $program in
	agent) _pgherd_files yml yaml ;;
	proxy) _pgherd_files ini ;;
	demo)
		((COMP_CWORD == start)) &&
			COMPREPLY=($(compgen -W "start status psql stop destroy" -- "$cur"))
		;;
	esac
}

_pgherd() {
	COMPREPLY=()
	case ${COMP_WORDS[0]##*/} in
	pgherd)
		if ((COMP_CWORD == 1)); then
			local commands
			commands=$("${COMP_WORDS[0]}" --help 2>/dev/null |
				awk '/^Commands:/ { on = 1; next } on && NF { print $1 }')
			COMPREPLY=($(compgen -W "$commands --help --version" -- "${COMP_WORDS[1]}"))
		elif [ "${COMP_WORDS[1]}" = ctl ]; then
			_pgherd_ctl 2
		else
			_pgherd_program "${COMP_WORDS[1]}" 2
		fi
		;;
	patroni)
		_pgherd_program agent 1
		;;
	pgbouncer)
		_pgherd_program proxy 1
		;;
	*)
		_pgherd_ctl 1
		;;
	esac
}

complete -F _pgherd pgherd pgherdctl patroni patronictl pgbouncer
