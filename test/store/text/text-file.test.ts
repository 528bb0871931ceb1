import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CorruptStoreError, LockLostError } from '../../../src/errors.ts'
import { BLOCKING, runBlocking, runSteps, WAITING } from '../../../src/os/steps.ts'
import { TextFile } from '../../../src/store/text/text-file.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, runScript } from '../../fixtures/lowdb-tools.ts'

/** Which version of a file is loaded is asked of a descriptor that is held, and of size and ctime. */
describe('text file', () => {
  const at = useFolder()
  let file: TextFile
  beforeEach(() => {
    file = new TextFile(at('data'), () => false)
  })
  afterEach(() => {
    file.unlockData()
    file.close()
  })

  /** What the next look says, and what is read then. */
  async function look(): Promise<string> {
    const found = file.look('exclusive')
    file.unlockData()
    return found.kind === 'changed' ? runSteps(file.read(found.size, WAITING)) : found.kind
  }

  it('says once that there is none, once that it changed, and nothing while it stays', async () => {
    assert.equal(await look(), 'missing')
    assert.equal(await look(), 'none')
    assert.ok(file.isMissing)
    writeFileSync(at('data'), 'one')
    assert.equal(await look(), 'one')
    assert.ok(!file.isMissing)
    assert.equal(await look(), 'none')
    unlinkSync(at('data'))
    assert.equal(await look(), 'missing')
    assert.equal(await look(), 'none')
  })

  it('knows its own writes, and tells the next writer of the same length in place', async () => {
    await look()
    await runSteps(file.replace('mine', false, WAITING))
    file.unlockData()
    assert.equal(await look(), 'none')
    await sleep(25)
    writeFileSync(at('data'), 'fore')
    assert.equal(await look(), 'fore')
  })

  it('is not fooled by inode numbers that come back', async () => {
    writeFileSync(at('data'), 'a0')
    await look()
    let reused = 0
    for (let i = 1; i <= 40; i++) {
      const { ino } = statSync(at('data'))
      // Two replacements: the second may get the number that the first one freed.
      for (const text of ['xx', `b${i % 10}`]) {
        writeFileSync(at('new'), text)
        renameSync(at('new'), at('data'))
      }
      if (statSync(at('data')).ino === ino) reused++
      assert.equal(await look(), `b${i % 10}`)
    }
    assert.equal(reused, 0, 'a number cannot come back while its descriptor is held')
  })

  it('reads again after forget()', async () => {
    writeFileSync(at('data'), 'one')
    await look()
    file.forget()
    assert.equal(await look(), 'one')
    unlinkSync(at('data'))
    await look()
    file.forget()
    assert.equal(await look(), 'missing')
  })

  it('sees growth and truncation', async () => {
    writeFileSync(at('data'), 'one')
    await look()
    appendFileSync(at('data'), ' two')
    assert.equal(await look(), 'one two')
    writeFileSync(at('data'), '')
    assert.equal(await look(), '')
  })

  it('replaces as a whole, leaves nothing beside it, and has it locked until unlockData', async () => {
    file.look('exclusive')
    await runSteps(file.replace('x'.repeat(300_000), false, WAITING))
    const other = new TextFile(at('data'), () => false)
    assert.ok((await failing(() => other.look('exclusive'))) instanceof LockLostError)
    assert.equal(other.look('shared').kind, 'changed', 'readers are not kept out')
    file.unlockData()
    assert.equal(other.look('exclusive').kind, 'none')
    other.unlockData()
    other.close()
    assert.equal(readFileSync(at('data'), 'utf8').length, 300_000)
    assert.deepEqual(readdirSync(at()), ['data'])
  })

  it('a writer with another lock file is noticed before it overwrites', async () => {
    writeFileSync(at('data'), 'one')
    const other = new TextFile(at('data'), () => false)
    other.look('exclusive')
    assert.ok((await failing(() => file.look('exclusive'))) instanceof LockLostError)
    other.unlockData()
    file.look('exclusive')
    file.unlockData()
    other.close()
  })

  it('bytes that are no UTF-8 are corrupt, not U+FFFD', async () => {
    for (const length of [10, 200_000]) {
      writeFileSync(at('data'), Buffer.alloc(length, 0xff))
      assert.ok((await failing(look)) instanceof CorruptStoreError)
      file.forget()
    }
    const found = file.look('shared')
    assert.ok(found.kind === 'changed')
    assert.throws(() => runBlocking(file.read(found.size, BLOCKING)), CorruptStoreError)
  })

  it('a folder is refused', async () => {
    mkdirSync(at('data'))
    assert.ok(String((await failing(look)).code).startsWith('PSLOCK_'))
  })

  it('a FIFO is refused, and does not block the thread', () => {
    execFileSync('mkfifo', [at('data')])
    const { out, signal } = runScript('lowdb-script', ['read', at('data')], ['timeout', '10'])
    assert.deepEqual([signal, out.trim()], [null, 'PSLOCK_CORRUPT undefined'])
  })
})
