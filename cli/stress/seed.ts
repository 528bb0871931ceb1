import { crypto } from '../../src/os/modules.ts'

export const MAX_SEED: number = 2 ** 32 - 1

export function anySeed(): number {
  return crypto().randomInt(MAX_SEED)
}
