/*
 * proxy/drift.h - has somebody else changed what verdicts rest on?
 *
 * DDL through this proxy is seen as it passes by. Of others the server's own statistics tell: how
 * often rows of the catalogs of functions, views, operators, casts, aggregates and policies were
 * changed. They are asked every two seconds while there are verdicts to be looked up; a server
 * tells of a change some seconds after it, and with track_counts = off it does not.
 */
#pragma once
#include "proxy/client.h"

/* A verdict of this client's database was looked up. Cheap, unless it is time to ask. */
void herd_drift_look(struct herd_client *c);
