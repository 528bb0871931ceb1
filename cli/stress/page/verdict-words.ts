import type { Verdict } from '../verdict.ts'

/** A run, and the same kind of work by the vanilla library without a lock. One of them may be missing. */
export interface Compared<Run> {
  readonly locked: Run | undefined
  readonly control: Run | undefined
}

/** What matters in a few words, and how it is to be taken. */
export interface Words {
  readonly text: string
  readonly tone: 'good' | 'bad' | 'unsure'
}

/** What all the runs show together, in two words. */
export function headline(all: readonly Compared<Verdict>[]): Words {
  const locked = all.flatMap(({ locked }) => locked ?? [])
  if (locked.length === 0) {
    const damaged = all.some(({ control }) => control?.verdict === 'damaged')
    return damaged
      ? { text: 'Damaged, as expected without a lock', tone: 'unsure' }
      : { text: 'Nothing lost, by luck', tone: 'unsure' }
  }
  if (locked.some(({ verdict }) => verdict === 'damaged')) return { text: 'Damaged', tone: 'bad' }
  const soFar = locked.some(({ interrupted }) => interrupted) ? ' so far' : ''
  if (locked.some(({ verdict }) => verdict === 'not enough contention')) {
    return { text: `Nothing lost${soFar}, but too little contention to prove anything`, tone: 'unsure' }
  }
  return { text: `Nothing lost${soFar}`, tone: soFar === '' ? 'good' : 'unsure' }
}

/** The same for one store, with its figures. */
export function sentences({ locked, control }: Compared<Verdict>): string {
  return [locked && ofLocked(locked), control && ofControl(control, locked)].filter(Boolean).join(' ')
}

/** How many things are wrong. */
export function total({ found }: Pick<Verdict, 'found'>): number {
  return Object.values(found).reduce((sum, count) => sum + count, 0)
}

export function grouped(count: number): string {
  return count.toLocaleString('en-US')
}

/** The libraries, as their authors write them. */
export const LIBRARY = { nedb: 'NeDB', 'nedb-promises': 'nedb-promises', lowdb: 'lowdb' } as const

const FILE_OF = { ...LIBRARY, 'nedb-promises': LIBRARY.nedb } as const

function ofLocked(verdict: Verdict): string {
  const { procs, acknowledged, store } = verdict
  const among = trouble(verdict)
  const work =
    `With pslock, ${count(procs, 'process', 'processes')} did ${count(acknowledged, 'operation', 'operations')} ` +
    `on one ${FILE_OF[store]} file${among === '' ? '' : ` through ${among}`}, and`
  const wrong = total(verdict)
  return wrong === 0
    ? `${work} the unmodified library finds all that was acknowledged in it.`
    : `${work} ${count(wrong, 'thing is', 'things are')} wrong with it.`
}

function ofControl(control: Verdict, locked: Verdict | undefined): string {
  const { procs, acknowledged, found } = control
  const who = `Without a lock, ${howElse(control, locked)}${count(procs, 'process', 'processes')}`
  const wrong = total(control)
  const did = `${who} did ${count(acknowledged, 'operation', 'operations')}, and`
  if (wrong === 0) return `${did} happened to lose nothing: this proves less than it could.`
  const lost = found.lost > 0 ? `, ${grouped(found.lost)} of them acknowledged and not in the file` : ''
  return `${did} ${count(wrong, 'thing is', 'things are')} wrong${lost}.`
}

function trouble({ disturbed: { kills, stops } }: Verdict): string {
  const kinds = [
    ...(kills > 0 ? [count(kills, 'kill', 'kills')] : []),
    ...(stops > 0 ? [count(stops, 'stop', 'stops')] : []),
  ]
  return kinds.join(' and ')
}

/** In what, besides the lock, the control is another run. */
function howElse({ procs, ops }: Verdict, locked: Verdict | undefined): string {
  if (!locked || (locked.procs === procs && locked.ops === ops && trouble(locked) === '')) return ''
  return trouble(locked) === '' ? 'in a short run, ' : 'in a short run and with nothing else in their way, '
}

function count(number: number, one: string, many: string): string {
  return `${grouped(number)} ${number === 1 ? one : many}`
}
