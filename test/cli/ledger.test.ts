import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import { Ledger, readLedger } from '../../cli/stress/ledger.ts'
import { LedgerTail } from '../../cli/stress/ledger-tail.ts'
import { useFolder } from '../fixtures/folder.ts'

describe('a ledger', () => {
  const folder = useFolder()

  it('has the intent at once and the answer later, in the order of the clock', () => {
    const ledger = new Ledger(folder('ledger'))
    ledger.intend(0, { kind: 'readCount' })
    assert.equal(readLedger(folder('ledger'))[0]?.answer, undefined)
    ledger.answered(0, { said: 'done', value: 3 })
    const [entry] = readLedger(folder('ledger'))
    assert.deepEqual(entry?.operation, { kind: 'readCount' })
    assert.deepEqual(entry.answer, { said: 'done', value: 3 })
    assert.ok(entry.end! >= entry.start)
    ledger.close()
  })

  it('does not count a last line that a kill cut short', () => {
    const ledger = new Ledger(folder('ledger'))
    ledger.intend(0, { kind: 'readCount' })
    ledger.close()
    appendFileSync(folder('ledger'), '{"i":0,"at":12')
    assert.equal(readLedger(folder('ledger'))[0]?.answer, undefined)
  })

  it('goes on behind a line that a kill cut short', () => {
    const killed = new Ledger(folder('ledger'))
    killed.intend(0, { kind: 'readCount' })
    killed.close()
    appendFileSync(folder('ledger'), '{"i":0,"at":12')
    const ledger = new Ledger(folder('ledger'))
    ledger.intend(1, { kind: 'readCount' })
    ledger.answered(1, { said: 'done', value: 3 })
    ledger.close()
    const entries = readLedger(folder('ledger'))
    assert.deepEqual(
      entries.map(({ index, answer }) => [index, answer]),
      [
        [0, undefined],
        [1, { said: 'done', value: 3 }],
      ],
    )
  })

  it('can be counted while it is being written', () => {
    const ledger = new Ledger(folder('ledger'))
    const tail = new LedgerTail(folder('ledger'))
    assert.equal(tail.answers(), 0)
    ledger.intend(0, { kind: 'readCount' })
    assert.equal(tail.answers(), 0)
    ledger.answered(0, { said: 'done' })
    assert.equal(tail.answers(), 1)
    ledger.close()
    tail.close()
    assert.equal(tail.answers(), 1)
  })
})
