import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { StoreIoError } from '../../../src/errors.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { assertNoOrphans, failing, fileOf, has, runScript, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  [key: string]: unknown
}

/** Law 3: a write that fails leaves the file as it was, and memory too; unsaved edits stay unsaved edits. */
describe('lowdb writes that fail', () => {
  const at = useFolder()

  for (const kind of ['async', 'sync']) {
    it(`a file size limit (EFBIG, ${kind}) loses neither the file nor unsaved edits, and is over when it is lifted`, function () {
      if (!has('prlimit', '--version')) {
        console.log('        skipped: no prlimit')
        return this.skip()
      }
      const limited = ['bash', '-c', 'ulimit -S -f 200; exec "$@"', 'limited']
      const { out, err, code } = runScript('lowdb-script', ['limited', at('db.json'), kind], limited)
      assert.equal(code, 0, err)
      assert.deepEqual(JSON.parse(out), [
        'done',
        'PSLOCK_STORE_IO EFBIG',
        ['n'],
        'PSLOCK_STORE_IO EFBIG',
        'PSLOCK_STORE_IO EFBIG',
        ['n', 'mine'],
        2,
        'done',
      ])
      const { n, mine, big } = fileOf<Data>(at('db.json'))
      assert.deepEqual([n, (mine as string).length, big], [2, 900_000, undefined])
      assertNoOrphans(at('db.json'))
    })
  }

  describe('on a full disk', () => {
    let mounted = false
    beforeEach(function () {
      mkdirSync(at('disk'))
      try {
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', at('disk')], { stdio: 'ignore' })
        mounted = true
      } catch {
        console.log('        skipped: mounting a small tmpfs is not permitted')
        this.skip()
      }
    })
    afterEach(() => {
      if (mounted) execFileSync('umount', ['-l', at('disk')])
      mounted = false
    })

    const fill = () => {
      try {
        writeFileSync(at('disk/ballast'), Buffer.alloc(2_000_000))
      } catch {
        // ENOSPC is what it is for.
      }
    }

    for (const [kind, open] of [
      ['async', () => new LockedLow<Data>(at('disk/db.json'), { n: 0 })],
      ['sync', () => new LockedLowSync<Data>(at('disk/db.json'), { n: 0 })],
    ] as const) {
      it(`ENOSPC (${kind}) leaves file and edits as they were, and the next write works once there is room`, async () => {
        const db = open()
        await db.update((data) => void data.n++)
        fill()
        const full = () => db.update((data) => void Object.assign(data, { big: 'x'.repeat(20_000) }))
        const failed = await untouched(at('disk/db.json'), () => failing(full))
        assert.ok(failed instanceof StoreIoError, `${failed}`)
        assert.equal((failed.cause as NodeJS.ErrnoException).code, 'ENOSPC')
        assert.deepEqual(db.data, { n: 1 })
        db.data.mine = 'y'.repeat(20_000)
        for (let i = 0; i < 3; i++) {
          const error = await untouched(at('disk/db.json'), () => failing(() => db.write()))
          assert.ok(error instanceof StoreIoError)
          assert.deepEqual(Object.keys(db.data), ['n', 'mine'])
        }
        assertNoOrphans(at('disk/db.json'))
        unlinkSync(at('disk/ballast'))
        await db.write()
        assert.equal(fileOf<Data>(at('disk/db.json')).mine, 'y'.repeat(20_000))
        await db.update((data) => void data.n++)
        assert.equal(fileOf<Data>(at('disk/db.json')).n, 2)
      })
    }

    it('of several updates that share a failed write all are refused, and none half', async () => {
      const db = new LockedLow<Data>(at('disk/db.json'), { n: 0 })
      await db.update((data) => void data.n++)
      fill()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 10 }, (_, i) =>
          db.update((data) => void Object.assign(data, { [`k${i}`]: 'x'.repeat(20_000) })),
        ),
      )
      unlinkSync(at('disk/ballast'))
      const kept = outcomes.flatMap(({ status }, i) => (status === 'fulfilled' ? [`k${i}`] : []))
      assert.deepEqual(Object.keys(db.data), ['n', ...kept])
      assert.deepEqual(Object.keys(fileOf(at('disk/db.json'))), ['n', ...kept])
      assert.deepEqual(kept, [])
    })
  })
})
