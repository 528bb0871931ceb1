import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { fixture } from '../../fixtures/code.ts'
import { idsOf, runFixture, runTool, seenByVanilla, temporaryFolder } from '../../fixtures/nedb-tools.ts'

/** Inserts from another process, which must find the lock free at once. */
function insertFromChild(filename: string, id: string): string {
  const args = [...process.execArgv, fixture('nedb-once'), filename, id]
  return execFileSync(process.execPath, args, { encoding: 'utf8' }).trim()
}

describe('a batch of operations', () => {
  const file = temporaryFolder()

  it('has released the lock before any of it resolves', async () => {
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    await db.insertAsync({ _id: 'mine' })
    assert.equal(insertFromChild(file('a.db'), 'after insert'), 'inserted')
    await Promise.all([
      db.insertAsync({ _id: 'x' }).then(() => insertFromChild(file('a.db'), 'after x')),
      db.insertAsync({ _id: 'y' }),
      db.findAsync({}),
    ])
    await db.countAsync({})
    assert.equal(insertFromChild(file('a.db'), 'after count'), 'inserted')
    assert.equal(await db.countAsync({}), 6)
  })

  it('runs callbacks and listeners without the lock', async () => {
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    const fromCallback = await new Promise<string>((resolve, reject) => {
      db.insert({ _id: 'mine' }, (error) => {
        if (error) reject(error)
        else resolve(insertFromChild(file('a.db'), 'from callback'))
      })
    })
    assert.equal(fromCallback, 'inserted')
    let fromListener = ''
    ;(db as unknown as NodeJS.EventEmitter).on('compaction.done', () => {
      fromListener = insertFromChild(file('a.db'), 'from listener')
    })
    await db.compactDatafileAsync()
    assert.equal(fromListener, 'inserted')
    assert.equal(await db.countAsync({}), 3)
  })

  it('rejects only the operations that failed, in the order they were issued', async () => {
    await using db = new LockedNedb<{ _id: string; k?: number }>({ filename: file('a.db'), autoload: true })
    await db.ensureIndexAsync({ fieldName: 'k', unique: true, sparse: true })
    const outcomes = await Promise.allSettled([
      db.insertAsync({ _id: 'a', k: 1 }),
      db.insertAsync({ _id: 'b', k: 1 }),
      db.countAsync({}).execAsync(),
      db.insertAsync([
        { _id: 'c', k: 2 },
        { _id: 'd', k: 1 },
      ]),
      db.insertAsync({ _id: 'e', k: 2 }),
      db.countAsync({}).execAsync(),
    ])
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    assert.deepEqual(
      [outcomes[2], outcomes[5]].map((outcome) => (outcome as PromiseFulfilledResult<unknown>).value),
      [1, 2],
    )
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['a', 'e'])
  })

  it('is undone as a whole when its serialization hook throws', async () => {
    let broken = false
    await using db = new LockedNedb<{ _id: string; k?: number }>({
      filename: file('a.db'),
      autoload: true,
      afterSerialization: async (line: string) => {
        if (broken) throw new Error('no key')
        return `!${line}`
      },
      beforeDeserialization: async (line: string) => line.slice(1),
    } as never)
    await db.insertAsync({ _id: 'a' })
    const before = readFileSync(file('a.db'))
    broken = true
    await assert.rejects(db.insertAsync([{ _id: 'b' }, { _id: 'c' }]))
    broken = false
    assert.equal(await db.countAsync({}), 1)
    assert.deepEqual(readFileSync(file('a.db')), before)
    await db.insertAsync({ _id: 'b' })
    assert.equal(await db.countAsync({}), 2)
  })

  it('keeps what it wrote when a compaction listener throws', async () => {
    const folder = file('a.db')
    const done = runFixture('nedb-listener', [folder])
    assert.match(done.out, /^compaction \w+, insert fulfilled\n$/, done.err)
    assert.deepEqual(idsOf(await seenByVanilla(folder)), ['a', 'b'])
  })
})

describe('system calls of a NeDB store', () => {
  const file = temporaryFolder()
  let traceable = false
  before(function () {
    traceable = runTool('strace', '-qq', '-o', '/dev/null', 'true')
    if (traceable) return
    console.log('      skipped: there is no strace here, or it may not trace')
    this.skip()
  })

  /** Runs a scenario; returns its calls between two marks, in order, as `name path`. */
  function traced(scenario: string, ...inject: string[]): (from: string, to: string) => string[] {
    const calls = 'write,writev,pwrite64,pwritev,fsync,fdatasync,flock,rename,renameat,renameat2'
    const prefix = [
      'strace',
      '-f',
      '-y',
      '-qq',
      '-s',
      '40',
      '-o',
      file('trace'),
      '-e',
      `trace=${calls}`,
      ...inject,
    ]
    const done = runFixture('nedb-traced', [file('a.db'), scenario], prefix)
    assert.equal(done.code, 0, done.err)
    const folder = dirname(file('a.db'))
    const lines = readFileSync(file('trace'), 'utf8').split('\n')
    const at = (mark: string) => lines.findIndex((line) => line.includes(`"MARK ${mark}\\n"`))
    return (from, to) =>
      lines.slice(at(from), at(to)).flatMap((line) => {
        const call = /^\d+ +(\w+)\((?:\d+<([^>]*)>|(.*))/.exec(line)
        const path = call?.[2] ?? call?.[3] ?? ''
        return call && path.includes(folder) ? `${call[1]} ${path.replaceAll(file('a.db'), 'a.db')}` : []
      })
  }
  const writes = (calls: readonly string[]) => calls.filter((call) => /^p?writev?(64)? a\.db$/.test(call))

  it('two writes and two holds at most for 50 inserts of one tick: the first waits for nobody, the others share', () => {
    // A slow machine may use up the time slice of a batch; one of five rounds will do.
    const between = traced('together')
    const rounds = [0, 1, 2, 3, 4].map((n) => between(`begin ${n}`, `end ${n}`))
    const fewest = rounds.sort((a, b) => writes(a).length - writes(b).length)[0] as string[]
    assert.ok(writes(fewest).length <= 2, fewest.join('\n'))
    assert.ok(fewest.filter((call) => call === 'flock a.db.lock').length <= 4, fewest.join('\n'))
    assert.ok(!fewest.some((call) => call.startsWith('fsync')), fewest.join('\n'))
  })

  it("durability 'disk' syncs the file before it resolves, and the folder where the file is new", () => {
    const between = traced('durable')
    const first = between('begin', 'created')
    const written = first.indexOf(writes(first)[0] as string)
    assert.ok(first.indexOf('fsync a.db', written) > written, first.join('\n'))
    assert.ok(
      first.some((call) => call === `fsync ${dirname(file('a.db'))}`),
      first.join('\n'),
    )
    const rounds = [0, 1, 2, 3, 4].map((n) => between(`begin ${n}`, `end ${n}`))
    for (const calls of rounds)
      assert.ok(
        calls.lastIndexOf('fsync a.db') > calls.lastIndexOf(writes(calls).at(-1) as string),
        calls.join('\n'),
      )
    // A slow machine may use up the time of a pass; one of five rounds will do.
    const fewest = rounds.sort((a, b) => writes(a).length - writes(b).length)[0] as string[]
    assert.equal(writes(fewest).length, 1, fewest.join('\n'))
    assert.equal(fewest.filter((call) => call === 'fsync a.db').length, 1, fewest.join('\n'))
    assert.ok(fewest.indexOf('fsync a.db') > fewest.indexOf(writes(fewest)[0] as string))
    assert.ok(
      fewest.indexOf('fsync a.db') > fewest.lastIndexOf('flock a.db.lock'),
      `the lock was held during fsync:\n${fewest.join('\n')}`,
    )
  })

  it("durability 'disk' syncs what is written to a file that was edited in place, and became shorter", () => {
    const calls = traced('durable after an edit in place')('begin', 'end')
    assert.ok(calls.indexOf('fsync a.db') > calls.indexOf(writes(calls)[0] as string), calls.join('\n'))
  })

  it("durability 'disk' shows nothing after a failed fsync before the file is rewritten", () => {
    // strace counts the calls of each thread by itself.
    const oneThread = ['-E', 'UV_THREADPOOL_SIZE=1']
    traced('durable failure', ...oneThread)
    const lines = readFileSync(file('trace'), 'utf8').split('\n')
    const syncs = (part: readonly string[]) => part.flatMap((line) => /^(\d+) +fsync\(/.exec(line)?.[1] ?? [])
    const thread = syncs(lines).at(-1)
    const before = lines.slice(
      0,
      lines.findIndex((line) => line.includes('MARK begin')),
    )
    const nth = syncs(before).filter((id) => id === thread).length + 1
    rmSync(file('a.db'))
    const inject = ['-e', `inject=fsync:error=EIO:when=${nth}`]
    const calls = traced('durable failure', ...oneThread, ...inject)('begin', 'end')
    const renamed = calls.findIndex((call) => call.startsWith('rename'))
    const synced = calls.findIndex((call) => /^fsync a\.db~/.test(call))
    assert.ok(synced !== -1 && renamed > synced, calls.join('\n'))
  })

  it("durability 'disk' syncs what others wrote before a read of it resolves", () => {
    const calls = traced('durable read')('begin', 'end')
    assert.ok(calls.includes('fsync a.db'), calls.join('\n'))
  })

  it('a compaction syncs the new content before the rename, whatever the durability', () => {
    const calls = traced('compaction')('begin', 'end')
    const renamed = calls.findIndex((call) => call.startsWith('rename'))
    const synced = calls.findIndex((call) => /^fsync a\.db~/.test(call))
    assert.ok(synced !== -1 && renamed > synced, calls.join('\n'))
  })
})
