import assert from 'node:assert/strict'
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { fixture } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { note } from '../../fixtures/random.ts'

interface Seen {
  reads: number
  backwards: number
  errors: string[]
}

/** Who cannot have the lock file reads without it: the file and its journal must be of one moment all the same. */
describe('a reader of lowdb that cannot have the lock file, beside a writer with a journal', () => {
  const at = useFolder()

  before(function () {
    const probe = ['-e', 'require("fs").accessSync(process.argv[1], 4)', fixture('lowdb-lockless-reader')]
    const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    if (spawnSync(process.execPath, probe, { ...nobody, stdio: 'ignore' }).status === 0) return
    console.log('        skipped: another user may not read this checkout')
    this.skip()
  })

  for (const kind of ['journal', 'plain', 'blocking']) {
    it(`never sees an older state after a newer one (${kind})`, async () => {
      chmodSync(at(), 0o755)
      mkdirSync(at('locked'))
      chmodSync(at('locked'), 0o555)
      const db = new LockedLow<{ n: number; text: string }>(
        at('db.json'),
        { n: 0, text: 'x'.repeat(20_000) },
        { journal: true },
      )
      await db.update(() => {})
      const reader = fork(fixture('lowdb-lockless-reader'), [at('db.json'), at('locked/lock'), kind, '1500'])
      await once(reader, 'message')
      const told = once(reader, 'message')
      let isRead = false
      const done = told.then(() => {
        isRead = true
      })
      while (!isRead) {
        for (let i = 0; i < 3; i++) await db.update((data) => void data.n++)
        await db.checkpoint()
      }
      await done
      const [{ reads, backwards, errors }] = (await told) as [Seen]
      note(`${reads} reads, ${db.data.n} updates`)
      assert.deepEqual([backwards, errors], [0, []])
      assert.ok(reads > 0 && db.data.n > 0)
      await db.close()
    })
  }

  it('is told what is, where it may not put aside a journal of another content', async () => {
    chmodSync(at(), 0o755)
    mkdirSync(at('locked'))
    chmodSync(at('locked'), 0o555)
    const db = new LockedLow(at('db.json'), { n: 0 }, { journal: true })
    await db.update(() => {})
    await db.update((data) => void data.n++)
    writeFileSync(at('db.json'), '{"n":7}')
    chmodSync(at(), 0o555)
    const reader = fork(fixture('lowdb-lockless-reader'), [at('db.json'), at('locked/lock'), 'blocking', '1'])
    await once(reader, 'message')
    const [{ errors }] = (await once(reader, 'message')) as [Seen]
    chmodSync(at(), 0o755)
    assert.match(errors[0] ?? '', /^StaleWriteError: .*may not put it aside \((EACCES|EPERM)\)/)
  })
})
