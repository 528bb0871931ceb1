import fc from 'fast-check'
import { useFolder } from '../../fixtures/folder.ts'
import { holds } from '../runs.ts'
import { step } from './generators.ts'
import { requireLikeModel, script } from './sequence.ts'

describe('random sequences of calls on a NeDB store', () => {
  const at = useFolder()

  it('do what NeDB in memory does, and leave what every other reader sees', async function () {
    this.timeout(30 * 60_000)
    let cases = 0
    await holds(
      fc.array(step, { minLength: 1, maxLength: 20 }),
      async (steps) => void (await requireLikeModel(steps, { filename: at(`${++cases}.db`) })),
      { name: 'NeDB, sequences of calls', runs: 150, script },
    )
  })
})
