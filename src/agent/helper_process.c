/*
 * helper_process.c - the beginning of every helper process.
 */
#include <signal.h>
#include <string.h>

#include "agent/helper.h"

int herd_helper_main(int argc, char **argv)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	if (argc > 0 && strcmp(argv[0], HERD_HELPER_GUARD) == 0)
		return herd_guard_process(argc, argv);
	if (argc > 0 && strcmp(argv[0], HERD_HELPER_WRITE) == 0)
		return herd_write_test_process(argc, argv);
	return 127;
}
