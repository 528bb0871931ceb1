import { harmless } from '../../src/errors.ts'
import { type Finding, findingText, isDamage } from '../../src/features/backup/format.ts'

/** What a command has to say. */
export interface Report {
  /** For people. */
  readonly text: string
  /** Whether something is wrong. */
  readonly found: boolean
  readonly file: string
  readonly findings?: readonly Finding[]
  readonly kept?: readonly string[]
  readonly bytes?: number
  /** What was copied from. */
  readonly from?: string
  /** How many a store on a server has. */
  readonly records?: number
}

export function checkReport(file: string, findings: readonly Finding[]): Report {
  const damage = findings.filter(isDamage)
  const name = harmless(file)
  const head = damage.length === 0 ? `${name}: whole` : `${name}: ${things(damage.length)} to mend`
  return { text: [head, ...findings.map(entry)].join('\n'), found: damage.length > 0, file, findings }
}

export function repairReport(file: string, mended: readonly Finding[], kept: readonly string[]): Report {
  const name = harmless(file)
  const head = mended.length === 0 ? `${name}: whole, nothing was changed` : `${name}: mended`
  const lines = mended.map((finding) => `  ${harmless(findingText(finding))}`)
  const where = kept.map((other) => `  kept in ${harmless(other)}`)
  return { text: [head, ...lines, ...where].join('\n'), found: false, file, findings: mended, kept }
}

function entry(finding: Finding): string {
  return `  ${harmless(findingText(finding))}\n    ${harmless(finding.mend)}`
}

function things(count: number): string {
  return count === 1 ? '1 thing' : `${count} things`
}
