"""The script: from a conversation to the assistant's next turn.

A scene is a generator that yields tool calls and is sent the steps that carried them out. Every
request plays its scene again from the start over the steps that the conversation holds, so
nothing is remembered between requests.
"""

from opensessions.local.demo_model import asks, building, scenes
from opensessions.local.demo_model.conversation import Conversation
from opensessions.local.demo_model.reply import Call
from opensessions.local.demo_model.scenes import Scene


def next_turn(conversation: Conversation) -> tuple[str, Call | None]:
    """What the assistant says next, and the tool that it calls (None: its turn is over)."""
    scene = _scene(conversation, asks.latest_ask(conversation.current.ask))
    try:
        call = next(scene)
        for step in conversation.current.steps:
            call = scene.send(step)
    except StopIteration as end:
        return str(end.value), None
    return call.say, call


def _scene(conversation: Conversation, ask: str) -> Scene:
    if conversation.answer_schema is not None or scenes.is_side_request(conversation):
        return scenes.side_answer(conversation, ask)
    if (shell_command := asks.command(ask)) is not None:
        return scenes.run(conversation, shell_command)
    if (seconds := asks.sleep_seconds(ask)) is not None:
        return scenes.sleep(conversation, seconds)
    if (count := asks.word_count(ask)) is not None:
        return scenes.say(count)
    if (answer := scenes.answer(conversation, ask)) is not None:
        return scenes.speak(answer)
    if asks.wants_build(ask):
        return building.build(conversation, ask)
    return building.change(conversation, ask)
