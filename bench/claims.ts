/** Shows, on the installed packages, what docs/comparison.md says of other locks. Exits 1 where it is not so. */
import { table } from '../cli/base/table.ts'
import type { Claim, Claims } from './claims/claim.ts'
import { fsExt } from './claims/fs-ext.ts'
import { properLockfile } from './claims/proper-lockfile.ts'
import { pyFilelock } from './claims/py-filelock.ts'
import { webLocks } from './claims/web-locks.ts'
import { Lab, reasonOf, say, within } from './lab/lab.ts'

/** No check takes as long, but one that hangs. */
const HANGS_MS = 60_000

const lab = new Lab()
const rows: string[][] = []

async function whyNotThere({ title, load }: Claims): Promise<string | undefined> {
  try {
    await within(title, HANGS_MS, load(lab))
    return undefined
  } catch (error) {
    return reasonOf(error)
  }
}

async function verdict({ text, isTrue }: Claim): Promise<string> {
  if (await within(text, HANGS_MS, isTrue(lab))) return 'so it is'
  process.exitCode = 1
  return 'NOT SO'
}

try {
  for (const subject of [properLockfile, fsExt, pyFilelock, webLocks]) {
    const reason = await whyNotThere(subject)
    if (reason) rows.push([subject.title, `left out: ${reason}`])
    for (const claim of reason ? [] : subject.claims) {
      say(`${subject.title}: ${claim.text}`)
      rows.push([subject.title, claim.text, await verdict(claim)])
    }
  }
  console.log(table(rows))
} finally {
  await lab.close()
}
