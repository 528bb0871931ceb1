import { writeSync } from 'node:fs'
import type { Candidate } from '../candidates/candidate.ts'
import { CANDIDATES, type CandidateName } from '../candidates/registry.ts'

/** Waits for a lock that somebody else has, gives up after a while, says so, and has nothing left to do. */
const [name, path, afterMs, how] = process.argv.slice(2) as [CandidateName, string, string, 'return' | 'exit']
const lock: Candidate = await CANDIDATES[name].load()
const wait = lock.acquireWithin
  ? lock.acquireWithin(path, Number(afterMs))
  : lock.acquire(path, AbortSignal.timeout(Number(afterMs)))
await wait.then(
  () => writeSync(1, 'granted\n'),
  () => writeSync(1, 'gave up\n'),
)
if (how === 'exit') process.exit()
