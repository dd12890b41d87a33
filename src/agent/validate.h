/*
 * agent/validate.h - pgherd agent --validate-config.
 */
#pragma once
#include <stdbool.h>

/*
 * Prints what is wrong with the configuration to stdout, a line each in Patroni's form, and what is
 * only strange to stderr. Returns the exit status: 0 all is well (nothing is printed), 1 not.
 */
int herd_validate(const char *path, bool ignore_listen_port);
