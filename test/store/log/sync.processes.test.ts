import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import type { News } from '../../../src/store/log/log-file.ts'
import { LogFile } from '../../../src/store/log/log-file.ts'
import { useFolder } from '../../fixtures/folder.ts'

/** An fsync may end when the file is another one already: it says nothing of that. */
describe('the fsync of a log', () => {
  const at = useFolder()

  it('that ends after the file was replaced does not pass for one of the new file', async () => {
    const file = new LogFile(at('a.log'), 0o600, true)
    const add = async (bytes: Buffer) => {
      await file.append(bytes)
      file.appended(bytes, bytes.length, bytes.length)
    }
    await add(Buffer.from(`{"_id":"${'x'.repeat(1000)}"}\n`))
    assert.equal(file.isSynced, false)
    const syncing = file.syncNow()
    writeFileSync(at('new'), '{"_id":"new"}\n')
    renameSync(at('new'), at('a.log'))
    const news = (await file.news('exclusive')) as Extract<News, { kind: 'replaced' }>
    file.apply(news.bytes, news.kind, news.bytes.length)
    await add(Buffer.from('{"_id":"newer"}\n'))
    await syncing
    assert.equal(file.isSynced, false, 'what was added to the new file is not on the disk')
    await file.syncNow()
    assert.equal(file.isSynced, true)
    file.close()
  })
})
