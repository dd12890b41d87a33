/* SHOW: finds what to show; columns and rows are in show_*.c. */
#include <strings.h>

#include "proxy/console.h"

static const struct herd_show *const tables[] = {
	herd_shows_peers, herd_shows_conf,    herd_shows_herd,  herd_shows_lists, herd_shows_pools,
	herd_shows_fds,   herd_shows_sockets, herd_shows_split, herd_shows_stats, herd_shows_times
};

const struct herd_show *herd_show_find(const char *what)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct herd_show *s = tables[i]; s->what; s++) {
			if (strcasecmp(s->what, what) == 0)
				return s;
		}
	}
	return NULL;
}

const char *herd_show_help(void)
{
	return "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION\n"
	       "\tSHOW PEERS|PEER_POOLS\n"
	       "\tSHOW FDS|SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE\n"
	       "\tSHOW DNS_HOSTS|DNS_ZONES\n"
	       "\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS\n"
	       "\tSHOW HERD|HOLDS|HISTOGRAMS|ROUTES|SPLIT\n"
	       "\tSET key = arg\n"
	       "\tRELOAD\n"
	       "\tPAUSE [<db>]\n"
	       "\tRESUME [<db>]\n"
	       "\tSUSPEND\n"
	       "\tDISABLE <db>\n"
	       "\tENABLE <db>\n"
	       "\tRECONNECT [<db>]\n"
	       "\tKILL [<db>]\n"
	       "\tKILL_CLIENT <client_id>\n"
	       "\tWAIT_CLOSE [<db>]\n"
	       "\tSHUTDOWN\n"
	       "\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS\n";
}
