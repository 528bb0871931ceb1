import { randomInt } from 'node:crypto'

export const MAX_SEED: number = 2 ** 32 - 1

export function anySeed(): number {
  return randomInt(MAX_SEED)
}
