/*
 * sim/sim.h - the simulated herd: real decisions (core) over a fake store, fake servers and a fake
 * network, with seeded faults, checked at every event.
 */
#pragma once

/*
 * `pgherd sim`: runs seeds, or one with a trace, with random settings or those of a file; see
 * docs/simulator.md and --help. Returns 0 when every check held, 1 when one did not (its seed is
 * printed), 2 on bad usage.
 */
int herd_sim_main(int argc, char **argv);
