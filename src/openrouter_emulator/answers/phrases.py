"""The sentences simulated answers are made of, in three languages. None of them claims to know anything."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """`{question}`, `{messages}` and `{words}` are filled in; each tuple is a pool to choose from."""

    headings: tuple[str, ...]
    disclaimer: str
    received_heading: str
    received: tuple[str, ...]
    points_heading: str
    points: tuple[str, ...]
    closings: tuple[str, ...]
    title: str
    reasoning: tuple[str, ...]


ENGLISH = Phrases(
    headings=("About your question", "A first look at the question", "In reply to what you asked"),
    disclaimer="This is a **simulated answer** from the OpenRouter emulator. No model was asked, so nothing here is "
    "knowledge, advice or a ruling; it only shows where a real answer would stand.",
    received_heading="What arrived",
    received=("Messages in this conversation: {messages}", "Words in the last message: {words}"),
    points_heading="How a real answer might go on",
    points=(
        "**The short reply.** One or two sentences that settle the question for a reader in a hurry.",
        "**The background.** Where the question comes from, and which terms need to be clear before it is answered.",
        "**The sources.** Passages that carry the answer, each with its exact place, so that it can be checked.",
        "**The views.** Where careful people differ, what each side relies on, and how far the difference reaches.",
        "**The conditions.** Circumstances under which the reply changes, such as travel, illness or local custom.",
        "**An example.** One everyday case, worked through from the beginning to the end.",
        "**What stays open.** The part for which a person with knowledge of the case should be asked.",
    ),
    closings=(
        "Ask again with the same words and you will read the same text: simulated answers depend only on the request.",
        "Point the client at the real service to read what a model has to say about this.",
        "The length and the layout are meant to look like an answer; the content is not one.",
    ),
    title="New conversation",
    reasoning=(
        "The question has to be read closely first.",
        "Its terms should be told apart before anything is answered.",
        "A short reply comes first, then the reasons, then what stays open.",
        "Nothing is known here, since this thinking is simulated as well.",
        "The layout can follow the question: a heading, a few points, a closing line.",
    ),
)

ARABIC = Phrases(
    headings=("حول سؤالك", "نظرة أولى في السؤال", "جوابًا عمّا سألت"),
    disclaimer="هذه **إجابة محاكاة** (simulated answer) من محاكي OpenRouter. لم يُسأل أي نموذج، فليس فيما يلي علم "
    "ولا نصيحة ولا فتوى، وإنما يبيّن موضع الجواب الحقيقي.",
    received_heading="ما وصل",
    received=("عدد الرسائل في هذه المحادثة: {messages}", "عدد الكلمات في الرسالة الأخيرة: {words}"),
    points_heading="كيف قد يمضي الجواب الحقيقي",
    points=(
        "**الجواب المختصر.** جملة أو جملتان تكفيان القارئ المستعجل.",
        "**الخلفية.** من أين جاء السؤال، وما المصطلحات التي ينبغي توضيحها قبل الجواب.",
        "**المصادر.** النصوص التي يقوم عليها الجواب مع موضع كل نص ليمكن الرجوع إليه.",
        "**الآراء.** مواضع الاختلاف وما يستند إليه كل رأي.",
        "**الشروط.** الأحوال التي يتغير معها الجواب، كالسفر والمرض والعرف.",
        "**مثال.** حالة يومية واحدة مشروحة من أولها إلى آخرها.",
        "**ما يبقى مفتوحًا.** الجزء الذي يُسأل عنه من يعرف تفاصيل الحالة.",
    ),
    closings=(
        "أعد السؤال بالكلمات نفسها تقرأ النص نفسه، فالإجابات المحاكاة لا تتبع إلا الطلب.",
        "وجّه البرنامج إلى الخدمة الحقيقية لتقرأ ما يقوله نموذج في هذا.",
        "الطول والترتيب يشبهان الجواب، أما المضمون فليس جوابًا.",
    ),
    title="محادثة جديدة",
    reasoning=(
        "ينبغي أن يُقرأ السؤال بعناية أولًا.",
        "تُميَّز مصطلحاته قبل أن يُجاب عنه.",
        "يأتي الجواب المختصر أولًا ثم الأسباب ثم ما يبقى مفتوحًا.",
        "لا علم هنا، فهذا التفكير محاكاة أيضًا.",
    ),
)

PERSIAN = Phrases(
    headings=("درباره‌ی پرسش شما", "نگاهی نخست به پرسش", "در پاسخ به آنچه پرسیدید"),
    disclaimer="این یک **پاسخ شبیه‌سازی‌شده** (simulated answer) از شبیه‌ساز OpenRouter است. از هیچ مدلی پرسیده نشده، "
    "پس آنچه می‌خوانید نه دانش است، نه راهنمایی و نه فتوا؛ تنها جای پاسخ واقعی را نشان می‌دهد.",
    received_heading="آنچه رسید",
    received=("شمار پیام‌های این گفت‌وگو: {messages}", "شمار واژه‌های پیام آخر: {words}"),
    points_heading="پاسخ واقعی چگونه می‌توانست ادامه یابد",
    points=(
        "**پاسخ کوتاه.** یک یا دو جمله برای خواننده‌ای که شتاب دارد.",
        "**زمینه.** پرسش از کجا می‌آید و کدام اصطلاح‌ها باید پیش از پاسخ روشن شوند.",
        "**منابع.** متن‌هایی که پاسخ بر آن‌ها استوار است، هر کدام با نشانی دقیق.",
        "**دیدگاه‌ها.** جاهایی که نظرها متفاوت است و تکیه‌گاه هر کدام.",
        "**شرایط.** حالت‌هایی که پاسخ را دگرگون می‌کند، مانند سفر، بیماری و عرف.",
        "**یک نمونه.** یک مورد روزمره از آغاز تا پایان.",
        "**آنچه باز می‌ماند.** بخشی که باید از آگاه به جزئیات پرسید.",
    ),
    closings=(
        "همین واژه‌ها را دوباره بپرسید تا همین متن را بخوانید؛ پاسخ شبیه‌سازی‌شده تنها به درخواست بستگی دارد.",
        "برنامه را به سرویس واقعی وصل کنید تا سخن یک مدل را بخوانید.",
        "اندازه و چینش به پاسخ می‌ماند، اما محتوا پاسخ نیست.",
    ),
    title="گفت‌وگوی تازه",
    reasoning=(
        "نخست باید پرسش را با دقت خواند.",
        "پیش از پاسخ باید اصطلاح‌ها را از هم جدا کرد.",
        "پاسخ کوتاه، سپس دلیل‌ها و سپس آنچه باز می‌ماند.",
        "اینجا دانشی نیست؛ این اندیشه نیز شبیه‌سازی شده است.",
    ),
)
