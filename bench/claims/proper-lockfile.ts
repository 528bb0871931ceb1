import { createRequire } from 'node:module'
import { errnoOf } from '../../src/errors.ts'
import { acquire } from '../candidates/proper-lockfile.ts'
import type { Lab } from '../lab/lab.ts'
import { type Claims, grantedAfter, keepsOutFlock } from './claim.ts'

const require = createRequire(import.meta.url)
const NAME = 'proper-lockfile'

async function refusal(path: string): Promise<string | undefined> {
  const { lock } = require(NAME) as typeof import('proper-lockfile')
  return lock(path, { realpath: false }).then(
    () => undefined,
    (error) => errnoOf(error),
  )
}

export const properLockfile: Claims = {
  title: NAME,
  load: (lab: Lab) => lab.start(1, 'node', NAME),
  claims: [
    {
      text: 'a killed holder keeps its lock for the first 9 s',
      isTrue: async (lab) => !(await grantedAfter(lab, 'node', NAME, 'SIGKILL', 9_000)),
    },
    {
      text: 'and is robbed of it soon after 10 s',
      isTrue: (lab) => grantedAfter(lab, 'node', NAME, 'SIGKILL', 13_000),
    },
    {
      text: 'a stopped holder is robbed after 10 s, though it lives',
      isTrue: (lab) => grantedAfter(lab, 'node', NAME, 'SIGSTOP', 13_000),
    },
    {
      text: 'by default it does not wait, and it does not re-enter: ELOCKED at once',
      isTrue: async (lab) => {
        const path = lab.path(NAME, 'twice')
        const release = await acquire(path)
        const code = await refusal(path)
        await release()
        return code === 'ELOCKED'
      },
    },
    { text: 'flock(1) is not kept out', isTrue: async (lab) => !(await keepsOutFlock(lab, 'node', NAME)) },
    {
      text: 'nothing is compiled at install',
      isTrue: async () => !require(`${NAME}/package.json`).scripts.install,
    },
  ],
}
