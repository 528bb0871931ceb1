import { CANDIDATES } from '../candidates/registry.ts'

/** A lock of another package or language. */
export interface Contender {
  /** As `--only` and the workers call it. */
  readonly name: string
  /** As it stands in the table. */
  readonly title: string
  readonly language: 'node' | 'python'
  /** Whether it keeps other processes out at all. */
  readonly isBetweenProcesses: boolean
  /** How often a holder is killed in a run. */
  readonly kills: number
}

const KILLS = 9

function node(name: keyof typeof CANDIDATES): Contender {
  return { name, title: CANDIDATES[name].title, language: 'node', isBetweenProcesses: true, kills: KILLS }
}

function python(name: string, title: string): Contender {
  return { name, title, language: 'python', isBetweenProcesses: true, kills: KILLS }
}

/** The first is what the others are compared with. */
export const CONTENDERS: readonly Contender[] = [
  node('pslock'),
  // Each death costs its 10 s of staleness.
  { ...node('proper-lockfile'), kills: 1 },
  node('fs-ext'),
  python('py-filelock', 'Python filelock'),
  python('py-fcntl', 'Python fcntl.flock'),
  { ...node('web-locks'), isBetweenProcesses: false },
]
