/*
 * sim/sim.h - the simulated herd: real decisions (core) over a fake store, fake servers and a fake
 * network, with seeded faults, checked at every event.
 */
#pragma once

/*
 * `pgherd sim [--seeds N] [--seed N] [--trace] [--config FILE]`: runs seeds 1 to N (default 100),
 * or one; --trace prints what happens. FILE is YAML: a dynamic configuration, or an agent's file
 * with bootstrap.dcs, whose settings replace the random ones. Returns 0 when every check held, 1
 * when one did not (its seed is printed), 2 on bad usage.
 */
int herd_sim_main(int argc, char **argv);
