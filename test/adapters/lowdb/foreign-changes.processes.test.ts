import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  openSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
}

/** Law 2 against programs that know nothing of the lock: editors, scripts, backups. */
describe('lowdb file changed by others', () => {
  const at = useFolder()
  const path = () => at('db.json')
  const text = (n: number) => JSON.stringify({ n }, null, 2)

  const changes: [string, (n: number) => void][] = [
    ['rewritten in place with the same length', (n) => writeFileSync(path(), text(n))],
    [
      'rewritten by one byte',
      (n) => {
        const fd = openSync(path(), 'r+')
        writeSync(fd, String(n), text(n).indexOf(String(n)))
        closeSync(fd)
      },
    ],
    [
      'rewritten in place with the same length and its old mtime',
      (n) => {
        const { atime, mtime } = statSync(path())
        writeFileSync(path(), text(n))
        utimesSync(path(), atime, mtime)
      },
    ],
    [
      'replaced by a rename',
      (n) => {
        writeFileSync(at('new'), text(n))
        renameSync(at('new'), path())
      },
    ],
    [
      'replaced by two renames, so that inode numbers may come back',
      (n) => {
        for (const value of [9, n]) {
          writeFileSync(at('new'), text(value))
          renameSync(at('new'), path())
        }
      },
    ],
    [
      'overwritten by cp -p from a backup of the same length',
      (n) => {
        writeFileSync(at('backup'), text(n))
        utimesSync(at('backup'), statSync(path()).atime, statSync(path()).mtime)
        execFileSync('cp', ['-p', at('backup'), path()])
      },
    ],
    [
      'overwritten by copyFile',
      (n) => {
        writeFileSync(at('backup'), text(n))
        copyFileSync(at('backup'), path())
      },
    ],
  ]

  for (const [what, change] of changes) {
    it(`${what}, is noticed by read, write and update`, async () => {
      writeFileSync(path(), text(1))
      const db = new LockedLow<Data>(path(), { n: 0 })
      const sync = new LockedLowSync<Data>(path(), { n: 0 })
      await db.read()
      sync.read()
      // Kernels before 6.13 count ctime in ticks of up to 10 ms.
      const later = () => sleep(25)
      await later()
      change(3)
      await db.read()
      sync.read()
      assert.deepEqual([db.data.n, sync.data.n], [3, 3])
      await later()
      change(5)
      await db.update((data) => void data.n++)
      assert.deepEqual([db.data.n, fileOf(path()).n], [6, 6])
      await later()
      change(7)
      sync.update((data) => void data.n++)
      assert.deepEqual([sync.data.n, fileOf(path()).n], [8, 8])
      await later()
      change(2)
      Object.assign(db.data, { mine: true })
      await db.write()
      assert.deepEqual(fileOf(path()), { n: 2, mine: true })
    })
  }
})
