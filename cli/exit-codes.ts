/**
 * What the commands end with. `stress` and `demo`: 0, 1, 3, 130; `status`: 0 free, 1 held; `run`: the command's own code;
 * every one of them 2 for wrong usage.
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
  /** `run` and `status` failed themselves: as timeout(1), env(1) and nice(1) say it, apart from the codes of commands. */
  failed: 125,
  notExecutable: 126,
  notFound: 127,
} as const
