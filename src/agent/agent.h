/*
 * agent/agent.h - `pgherd agent`: runs one PostgreSQL instance of a herd, as Patroni does.
 */
#pragma once

/* argv[0] is the program's name as it was called. Returns the exit code. */
int herd_agent_main(int argc, char **argv);
