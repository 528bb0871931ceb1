/**
 * What the commands end with. `stress` and `demo`: 0, 1, 3, 130, 125 (`demo --web` 0 at Ctrl-C, `demo --insert` 0, 1, 125); `status`: 0 free, 1 held; `run`: the command's own code, 69 where its lock on a server was lost;
 * `check`: 0 whole, 1 damaged; `dump`, `restore`, `repair`, `copy`: 0 done, 1 refused, since something is damaged; all five 75, 125;
 * `clean`: 0 done, 125 some could not be removed; every one of them 2 for wrong usage.
 */
export const EXIT = {
  clean: 0,
  damaged: 1,
  usage: 2,
  idle: 3,
  interrupted: 130,
  free: 0,
  held: 1,
  /** Not free in time: EX_TEMPFAIL of sysexits.h, "try again later". */
  conflict: 75,
  /** The lock was lost while the command ran: EX_UNAVAILABLE of sysexits.h. */
  lost: 69,
  /** The command failed itself: as timeout(1), env(1) and nice(1) say it, apart from the codes of commands. */
  failed: 125,
  notExecutable: 126,
  notFound: 127,
} as const
