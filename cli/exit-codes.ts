/** The exit codes of `stress` and `demo`, and, for wrong usage, of every command. */
export const EXIT = { clean: 0, damaged: 1, usage: 2, idle: 3, interrupted: 130 } as const
