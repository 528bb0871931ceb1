import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { ROOT } from '../../test/fixtures/code.ts'
import { type Lab, reasonOf, within } from '../lab/lab.ts'
import { HANGS_MS } from './cell.ts'
import { Member } from './crew.ts'
import type { Pairs } from './solos/pairs.ts'
import type { StepCosts } from './solos/steps.ts'
import type { Weight } from './solos/weigh.ts'

/** What is measured in one process at a time, by `--only`'s name. */
export const SOLOS = {
  pairs: 'lock and unlock with nobody else there, against C',
  open: 'opening a file of 100,000 records, and its memory',
  steps: 'an operation at 100,000 records against 1,000',
} as const

export type SoloName = keyof typeof SOLOS

const OPENED_RECORDS = 100_000
const PAIRS = 20_000

/** What the solos have measured, round by round. What is not there was not asked for, or is left out. */
export interface Solos {
  pairs?: readonly Pairs[]
  open?: { readonly ours: readonly Weight[]; readonly vanilla: readonly Weight[] }
  steps?: readonly StepCosts[]
}

export interface SoloOptions {
  readonly rounds: number
  readonly seed: number
  readonly onRound: (name: SoloName) => void
}

type Run = (lab: Lab, options: SoloOptions) => Promise<Solos>

/** In a process that has done nothing else. */
async function fresh<T>(seed: number, what: string, run: (member: Member) => Promise<T>): Promise<T> {
  const member = new Member(seed, 0)
  try {
    return await within(what, HANGS_MS, run(member))
  } finally {
    await member.end('kill')
  }
}

async function pairs(lab: Lab, { rounds, seed, onRound }: SoloOptions): Promise<Solos> {
  const loop = lab.path('pairs', 'flock-loop')
  execFileSync('cc', ['-O2', '-o', loop, join(ROOT, 'bench/flock-loop.c')])
  return fresh(seed, 'pairs', async (member) => {
    const measured: Pairs[] = []
    // The first round only warms up.
    for (let round = -1; round < rounds; round++) {
      if (round >= 0) onRound('pairs')
      const each = await member.call('pairs', lab.path('pairs'), loop, PAIRS)
      if (round >= 0) measured.push(each)
    }
    return { pairs: measured }
  })
}

async function open(lab: Lab, { rounds, seed, onRound }: SoloOptions): Promise<Solos> {
  const weights = { 'locked-nedb': [] as Weight[], 'vanilla-nedb': [] as Weight[] }
  const path = lab.path('open')
  await fresh(seed, 'preparation', (member) => member.call('prepare', 'locked-nedb', path, OPENED_RECORDS))
  for (let round = 0; round < rounds; round++) {
    onRound('open')
    const order = ['locked-nedb', 'vanilla-nedb'] as const
    for (const peer of round % 2 === 0 ? order : order.toReversed()) {
      weights[peer].push(
        await fresh(seed, 'open', (member) => member.call('weigh', peer, path, OPENED_RECORDS)),
      )
    }
  }
  return { open: { ours: weights['locked-nedb'], vanilla: weights['vanilla-nedb'] } }
}

async function steps(lab: Lab, { rounds, seed, onRound }: SoloOptions): Promise<Solos> {
  const measured: StepCosts[] = []
  for (let round = 0; round < rounds; round++) {
    onRound('steps')
    const folder = lab.path(`steps-${round}`, '')
    measured.push(await fresh(seed, 'steps', (member) => member.call('steps', folder)))
  }
  return { steps: measured }
}

const RUNS: Record<SoloName, Run> = { pairs, open, steps }

/** @returns what was measured, or why not */
export async function measureSolo(
  name: SoloName,
  lab: Lab,
  options: SoloOptions,
): Promise<{ readonly solos: Solos } | { readonly leftOut: string }> {
  try {
    return { solos: await RUNS[name](lab, options) }
  } catch (error) {
    return { leftOut: reasonOf(error) }
  }
}
