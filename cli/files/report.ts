import { type Finding, findingText, isDamage } from '../../src/db/dump/finding.ts'

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
}

export function checkReport(file: string, findings: readonly Finding[]): Report {
  const damage = findings.filter(isDamage)
  const head = damage.length === 0 ? `${file}: whole` : `${file}: ${things(damage.length)} to mend`
  return { text: [head, ...findings.map(entry)].join('\n'), found: damage.length > 0, file, findings }
}

export function repairReport(file: string, mended: readonly Finding[], kept: readonly string[]): Report {
  const head = mended.length === 0 ? `${file}: whole, nothing was changed` : `${file}: mended`
  const lines = mended.map((finding) => `  ${findingText(finding)}`)
  const where = kept.map((name) => `  kept in ${name}`)
  return { text: [head, ...lines, ...where].join('\n'), found: false, file, findings: mended, kept }
}

function entry(finding: Finding): string {
  return `  ${findingText(finding)}\n    ${finding.mend}`
}

function things(count: number): string {
  return count === 1 ? '1 thing' : `${count} things`
}
