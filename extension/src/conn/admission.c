#include "conn/admission.h"

/* Its headers need not be installed; the layout of what is used here is the same without it. */
#undef ENABLE_GSS
#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "libpq/auth.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include <limits.h>

static int max_clients = -1;
static pg_atomic_uint32 *clients;
static ClientAuthentication_hook_type next_authentication;

static void begin(void *memory)
{
	pg_atomic_init_u32(memory, 0);
}

static void leave(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(clients, 1);
}

static bool is_superuser(const char *role)
{
	HeapTuple tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(role));
	bool is = false;

	if (HeapTupleIsValid(tuple)) {
		is = ((Form_pg_authid)GETSTRUCT(tuple))->rolsuper;
		ReleaseSysCache(tuple);
	}
	return is;
}

static bool is_of_a_node(const Port *port)
{
	static const char prefix[] = "citus_";

	return port->application_name &&
	       strncmp(port->application_name, prefix, sizeof(prefix) - 1) == 0;
}

static void authenticated(Port *port, int status)
{
	uint32 before;

	if (next_authentication)
		next_authentication(port, status);
	if (status != STATUS_OK || am_walsender || is_of_a_node(port) ||
	    is_superuser(port->user_name))
		return;
	/* counted also without a limit: one may be set later */
	before = pg_atomic_fetch_add_u32(clients, 1);
	before_shmem_exit(leave, 0);
	if (max_clients >= 0 && before >= (uint32)max_clients)
		ereport(FATAL, (errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				errmsg("sorry, too many clients already"),
				errdetail("citus.max_client_connections is %d on this server.",
					  max_clients)));
}

void herd_admission_init(void)
{
	DefineCustomIntVariable("citus.max_client_connections",
				"Sessions of clients that this server takes, -1 for no limit.",
				"Those of other nodes and of superusers are not counted.",
				&max_clients, -1, -1, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	herd_shared_struct("pgherd clients", sizeof(*clients), 0, begin, (void **)&clients, NULL);
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = authenticated;
}
