import cluster from 'node:cluster'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { PsLock } from 'pslock'

// Workers of a cluster count in one file, and no count is lost: npx tsx examples/cluster-counter.ts count.txt

const [file = 'count.txt'] = process.argv.slice(2)
const WORKERS = 4
const TIMES = 100

if (cluster.isPrimary) {
  writeFileSync(file, '0')
  const workers = Array.from({ length: WORKERS }, () => cluster.fork())
  await Promise.all(workers.map((worker) => once(worker, 'exit')))
  console.log(`${WORKERS} workers x ${TIMES} = ${readFileSync(file, 'utf8')}`)
} else {
  const lock = new PsLock(file)
  for (let i = 0; i < TIMES; i++) {
    await lock.exclusive(async () => {
      const count = Number(readFileSync(file, 'utf8'))
      await new Promise(setImmediate) // some work; the other workers wait
      writeFileSync(file, String(count + 1))
    })
  }
  process.disconnect()
}
