/*
 * helper_main.c - the tiny program that pgherd carries inside itself: `pgherd-guard` and the write
 * test of the progress probe. Linked with libc alone, so that a guard costs a few hundred KiB and
 * holds nothing of the agent's memory.
 */
#include "agent/helper.h"

int main(int argc, char **argv)
{
	return herd_helper_main(argc, argv);
}
