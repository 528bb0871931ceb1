import { openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { readBesideWaits } from '../waiting/measures.ts'
import { type Claims, grantedAfter, isInOrder, keepsOutFlock } from './claim.ts'

const require = createRequire(import.meta.url)
const NAME = 'fs-ext'

function isGranted(fd: number, operation: string): boolean {
  try {
    require(NAME).flockSync(fd, operation)
    return true
  } catch {
    return false
  }
}

export const fsExt: Claims = {
  title: NAME,
  load: (lab) => lab.start(1, 'node', NAME),
  claims: [
    {
      text: 'shared holders go together, an exclusive one does not; a second descriptor does not re-enter',
      isTrue: async (lab) => {
        const [first, second, third] = [1, 2, 3].map(() => openSync(lab.path(NAME, 'modes'), 'a')) as [
          number,
          number,
          number,
        ]
        return isGranted(first, 'shnb') && isGranted(second, 'shnb') && !isGranted(third, 'exnb')
      },
    },
    {
      text: 'a killed holder frees it at once',
      isTrue: (lab) => grantedAfter(lab, 'node', NAME, 'SIGKILL', 1_000),
    },
    {
      text: 'a stopped holder keeps it',
      isTrue: async (lab) => !(await grantedAfter(lab, 'node', NAME, 'SIGSTOP', 13_000)),
    },
    {
      text: 'eight asynchronous waits stop fs.readFile until the release',
      isTrue: async (lab) => {
        const [holder] = await lab.start(1, 'node', 'fs-ext-async')
        const path = lab.path(NAME, 'beside')
        return (await readBesideWaits(lab, holder!, 'fs-ext-async', path)) > 500
      },
    },
    { text: 'waiters get it in their order', isTrue: (lab) => isInOrder(lab, 'node', NAME) },
    { text: 'flock(1) is kept out', isTrue: (lab) => keepsOutFlock(lab, 'node', NAME) },
    {
      text: 'it is compiled at install',
      isTrue: async () => require(`${NAME}/package.json`).scripts.install.includes('node-gyp'),
    },
  ],
}
