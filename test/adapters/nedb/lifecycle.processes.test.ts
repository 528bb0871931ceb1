import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import {
  idsOf,
  Peer,
  recordsOf,
  runFixture,
  seenByVanilla,
  temporaryFolder,
  warnings,
} from '../../fixtures/nedb-tools.ts'

describe('opening, compacting and dropping a NeDB file', () => {
  const file = temporaryFolder()
  const warned = warnings()
  const open = (options: object = {}) =>
    new LockedNedb<{ _id: string; n?: number }>({ filename: file('a.db'), autoload: true, ...options })

  it('what was issued before the load runs first, in order, and is on disk once acknowledged', async () => {
    const db = new LockedNedb<{ _id: string }>({ filename: file('a.db') })
    const inserts = Array.from({ length: 300 }, (_, n) => db.insertAsync({ _id: `${n}` }))
    const loading = db.loadDatabaseAsync()
    const compactions = Array.from({ length: 6 }, () => db.compactDatafileAsync())
    const last = db.removeAsync({ _id: '0' }, {})
    await Promise.all([loading, ...inserts, ...compactions])
    assert.equal(await last, 1)
    assert.equal((await seenByVanilla(file('a.db'))).length, 299)
    await db.close()
  })

  it('a folder in the place of the file is a rejection, not a crash', async () => {
    mkdirSync(file('a.db'))
    const db = new LockedNedb({ filename: file('a.db') })
    await assert.rejects(db.loadDatabaseAsync(), (error: Error & { code: string }) =>
      error.code.startsWith('PSLOCK_'),
    )
    await db.close()
  })

  it('a failing autoload does not crash the process; operations say why', () => {
    writeFileSync(file('a.db'), 'garbage\n')
    const done = runFixture('nedb-once', [file('a.db'), 'a'])
    assert.equal(done.code, 1)
    assert.match(done.err, /autoload of .*a\.db failed/)
    assert.match(done.err, /CorruptStoreError/)
    assert.equal(readFileSync(file('a.db'), 'utf8'), 'garbage\n')
  })

  it('a failing autoload is told to onload, or is a warning', async () => {
    writeFileSync(file('a.db'), 'garbage\n')
    const told = await new Promise((resolve) => open({ onload: resolve }))
    assert.equal((told as { code: string }).code, 'PSLOCK_CORRUPT')
    const db = open()
    await assert.rejects(db.insertAsync({ _id: 'a' }), { code: 'PSLOCK_CORRUPT' })
    await assert.rejects(db.autoloadPromise as Promise<void>, { code: 'PSLOCK_CORRUPT' })
    await setTimeout(1)
    assert.ok(warned().some(({ message }) => message.includes('autoload')))
    writeFileSync(file('a.db'), '{"_id":"mended"}\n')
    await db.loadDatabaseAsync()
    assert.deepEqual(idsOf(await db.findAsync({})), ['mended'])
    await db.close()
  })

  it('the autocompaction timer erases nothing of other processes, and does not keep the process alive', async () => {
    await using db = open()
    await db.insertAsync([{ _id: 'mine', n: 0 }])
    await db.updateAsync({ _id: 'mine' }, { $set: { n: 1 } }, {})
    const inode = statSync(file('a.db')).ino
    db.setAutocompactionInterval(5000)
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await peer.call('insertAsync', { _id: 'theirs' })
    for (let n = 0; n < 120 && statSync(file('a.db')).ino === inode; n++) await setTimeout(100)
    db.stopAutocompaction()
    assert.deepEqual(idsOf(recordsOf(file('a.db'))), ['mine', 'theirs'])
    assert.deepEqual(idsOf(await peer.call('findAsync', {})), ['mine', 'theirs'])
  })

  it('a dropped file is empty for everyone, and is made again by the next write of anyone', async () => {
    await using db = open()
    await db.insertAsync({ _id: 'old' })
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    assert.equal(await peer.call('countAsync', {}), 1)
    writeFileSync(file('a.db~'), '{"_id":"zombie"}\n')
    await db.dropDatabaseAsync()
    assert.deepEqual([existsSync(file('a.db')), existsSync(file('a.db~'))], [false, false])
    assert.equal(await peer.call('countAsync', {}), 0)
    await peer.call('insertAsync', { _id: 'new' })
    assert.deepEqual(idsOf(await db.findAsync({})), ['new'])
    await db.insertAsync({ _id: 'mine' })
    await peer.call('compactDatafileAsync')
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['mine', 'new'])
  })

  it('an orphan `~` of a crashed compaction is never taken for data', async () => {
    writeFileSync(file('a.db~'), '{"_id":"zombie"}\n')
    await using db = open()
    assert.equal(await db.countAsync({}), 0)
    await db.insertAsync({ _id: 'a' })
    await db.compactDatafileAsync()
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['a'])
    assert.ok(!existsSync(file('a.db~')))
  })

  it('an explicit load compacts, keeps mode bits, and tells listeners', async () => {
    writeFileSync(file('a.db'), '{"_id":"a","n":1}\n{"_id":"a","n":2}\n', { mode: 0o640 })
    await using db = open()
    let compactions = 0
    ;(db as unknown as NodeJS.EventEmitter).on('compaction.done', () => {
      compactions++
    })
    await db.loadDatabaseAsync()
    assert.equal(readFileSync(file('a.db'), 'utf8'), '{"_id":"a","n":2}\n')
    assert.equal(statSync(file('a.db')).mode & 0o777, 0o640)
    assert.equal(compactions, 1)
  })

  it('makes the folders it needs, as vanilla does', async () => {
    await using db = new LockedNedb({ filename: file('deep/er/a.db'), autoload: true })
    await db.insertAsync({ _id: 'a' })
    assert.deepEqual(readdirSync(file('deep/er')).sort(), ['a.db', 'a.db.lock'])
  })

  it('two names of one file (a symbolic link) share its lock', async () => {
    const { symlinkSync } = await import('node:fs')
    await using db = open()
    await db.insertAsync({ _id: 'a' })
    symlinkSync(file('a.db'), file('link.db'))
    await using other = open({ filename: file('link.db') })
    assert.equal(other.lock.path, db.lock.path)
    await other.insertAsync({ _id: 'b' })
    await other.compactDatafileAsync()
    await db.insertAsync({ _id: 'c' })
    assert.equal((await seenByVanilla(file('a.db'))).length, 3)
    assert.equal((await seenByVanilla(file('link.db'))).length, 3)
  })
})
