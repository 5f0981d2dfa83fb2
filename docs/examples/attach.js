// Take every message out of a queue: the reference's pop, subscribe and alert, and nothing else.
// usage: node attach.js STATE/run/queue.ipc QUEUE
const fs = require("fs")
const zmq = require("zeromq")

const [door, queue] = process.argv.slice(2)
const asking = new zmq.Request()
const listening = new zmq.Reply({ receiveTimeout: 15000 })

async function say(...message) {
  await asking.send(["", ...message]) // an empty tag, the verb, its parameters
  return (await asking.receive()).slice(1).map(String)
}

async function main() {
  asking.connect(`ipc://${door}`)
  await listening.bind("tcp://127.0.0.1:*")
  console.log(await say("subscribe", queue, listening.lastEndpoint.replace("tcp:", "socket:")))
  for (;;) {
    for (let answer; (answer = await say("pop", queue))[0] === "ok"; ) {
      console.log("message", fs.statSync(answer[1]).size, "octets")
      fs.unlinkSync(answer[1]) // handled: that settles it
    }
    try {
      await listening.receive() // an alert is a hint; look now and then anyway
      await listening.send(["", "ok"])
    } catch (error) {
      if (error.code !== "EAGAIN") throw error
    }
  }
}

main()
