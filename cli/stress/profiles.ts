import type { StressFlags } from './command.ts'

export type ProfileName = 'chaos' | 'torture'

/** Sets of options with a name; options that are given besides override theirs. */
export const PROFILES: Readonly<Record<ProfileName, Partial<StressFlags>>> = {
  /** All there is, for a while that CI can spare. */
  chaos: {
    procs: 10,
    seconds: 20,
    kill: { perSecond: 5 },
    stop: 2,
    compact: 1,
    dump: 1,
    vanillaOpen: 1,
    slow: 2,
    block: 2,
    clockJump: true,
  },
  /** The same for an hour, with pauses that keep the ledgers of an hour in memory. */
  torture: {
    procs: 16,
    seconds: 3600,
    think: 60,
    kill: { perSecond: 5 },
    stop: 2,
    compact: 1,
    dump: 0.02,
    vanillaOpen: 0.02,
    slow: 3,
    block: 3,
    clockJump: true,
  },
}
