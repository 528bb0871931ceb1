import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { StoreIoError } from '../../../src/index.ts'
import { STORES, seenIn } from '../../fixtures/dump-crew.ts'
import { openStore } from '../../fixtures/dump-worker.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, untouched } from '../../fixtures/lowdb-tools.ts'
import { fillUp, useSmallDisk } from '../../fixtures/small-disk.ts'

describe('dump and restore', () => {
  const at = useFolder()

  // Within: the disk is unmounted before the folder is removed.
  describe('on a full disk', () => {
    const disk = useSmallDisk(at, 'size=128k')

    for (const kind of STORES) {
      it(`${kind}: a dump is refused, leaves nothing, and what it would have replaced is there`, async () => {
        const store = await openStore(kind, at('store'))
        for (let i = 0; i < 5; i++) await store.step()
        writeFileSync(disk('old'), 'old')
        fillUp(disk('rest'))
        const error = await untouched(disk('old'), () =>
          failing(() => store.dump(disk('old'), { overwrite: true })),
        )
        assert.ok(error instanceof StoreIoError)
        assert.match(error.message, /ENOSPC/)
        assert.ok((await failing(() => store.dump(disk('new')))) instanceof StoreIoError)
        assert.deepEqual(readdirSync(disk()).sort(), ['old', 'rest'])
        await store.close()
      })

      it(`${kind}: a restore is refused, and file and memory are as before`, async () => {
        const store = await openStore(kind, disk('store'))
        await store.step()
        await store.dump(at('dump'))
        await store.step()
        fillUp(disk('rest'))
        const error = await untouched(disk('store'), () => failing(() => store.restore(at('dump'))))
        assert.ok(error instanceof StoreIoError, String(error))
        assert.match(error.message, /ENOSPC/)
        assert.equal((await store.tally()).n, 2)
        assert.equal(await seenIn(kind, disk('store')), 2)
        assert.deepEqual(
          readdirSync(disk()).filter((name) => /tmp|~|restore/.test(name)),
          [],
        )
        await store.close()
      })
    }
  })
})
